SwaggerUIBundle({url: "openapi.json", dom_id: "#openapi", deepLinking: true, validatorUrl: null});
