export { CatalogError, type CatalogErrorCode } from "./catalog-error.ts";
export { type CatalogSource, type CatalogStatus, type ListingProblem, openCatalogSource } from "./catalog-source.ts";
export { type CatalogDefinition, catalogDefaults, type CatalogSourceOptions } from "./options.ts";
