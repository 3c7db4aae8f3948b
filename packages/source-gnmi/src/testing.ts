export type { DeviceFaults, DeviceManners } from "./testing/device-call.ts";
export type {
  DeviceChange,
  DeviceLeaf,
  DeviceTransaction,
  DeviceTree,
  DeviceValue,
  DeviceWrite,
} from "./testing/device-tree.ts";
export { GnmiDevice, type GnmiDeviceOptions, type GnmiDeviceStats } from "./testing/gnmi-device.ts";
