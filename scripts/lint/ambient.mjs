// A plugin for oxlint: the ambient time that its own rules cannot express.

const message = "Ambient time and randomness: take a Clock or an Rng from @tidemark/clock as an option.";

const isDate = (node) => node.type === "Identifier" && node.name === "Date";

/** `new Date()` and `Date()` read the clock; `new Date(ms)` only converts. */
const noCurrentDate = {
  create(context) {
    return {
      NewExpression(node) {
        if (isDate(node.callee) && node.arguments.length === 0) context.report({ node, message });
      },
      CallExpression(node) {
        if (isDate(node.callee)) context.report({ node, message });
      },
    };
  },
};

const ambientModules = /^(node:)?(timers|timers\/promises)$/;

/** `no-restricted-imports` sees declarations alone. */
const noDynamicImport = {
  create(context) {
    return {
      ImportExpression(node) {
        if (node.source.type === "Literal" && ambientModules.test(node.source.value)) context.report({ node, message });
      },
    };
  },
};

export default {
  meta: { name: "ambient" },
  rules: { "no-current-date": noCurrentDate, "no-dynamic-import": noDynamicImport },
};
