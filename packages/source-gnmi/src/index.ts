export { GnmiError, type GnmiErrorCode } from "./gnmi-error.ts";
