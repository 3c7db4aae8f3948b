export type { PendingTimer, TimerKind } from "./simulated-clock.ts";
export { createSimulation, type Simulation, type SimulationOptions, simulationDefaults } from "./simulation.ts";
export type { Trace } from "./trace.ts";
