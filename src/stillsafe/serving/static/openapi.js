// Without deep links an operation's button has no link inside, which a keyboard would reach twice. Headings and landmarks
// get the order that Swagger UI's own elements lack.
SwaggerUIBundle({
  url: "openapi.json", dom_id: "#openapi", deepLinking: false, validatorUrl: null,
  onComplete: () => {
    const about = document.querySelector(".information-container");
    about?.setAttribute("role", "region");
    about?.setAttribute("aria-label", "About this API");
    document.querySelectorAll("h3.opblock-tag, section.models > h4").forEach((each) => each.setAttribute("aria-level", "2"));
  },
});
