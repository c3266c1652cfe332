// Equations, on the first page and on those that are loaded later.
document$.subscribe(({ body }) => {
  renderMathInElement(body, {
    delimiters: [{ left: "\\(", right: "\\)", display: false }, { left: "\\[", right: "\\]", display: true }],
  })
})
