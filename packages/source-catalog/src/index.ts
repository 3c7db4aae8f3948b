export { CatalogError, type CatalogErrorCode } from "./catalog-error.ts";
export { type CatalogSource, catalogSource, type CatalogStatus, type ListingProblem } from "./catalog-source.ts";
export { type CatalogDefinition, catalogDefaults, type CatalogSourceOptions } from "./options.ts";
