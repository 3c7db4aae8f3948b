const common = {
  viewBox: "0 0 16 16",
  width: 16,
  height: 16,
  fill: "none",
  stroke: "currentColor",
  "stroke-width": 1.5,
  "stroke-linecap": "round",
  "stroke-linejoin": "round",
  "aria-hidden": true,
  focusable: "false",
} as const;

/** The mark: a level, and the water under it. */
export function Logo() {
  return (
    <svg {...common} viewBox="0 0 24 24" width={24} height={24} class="logo" stroke-width={2}>
      <path d="M3 6h18" class="logo-level" />
      <path d="M3 12.5c1.5-1.6 3-1.6 4.5 0s3 1.6 4.5 0 3-1.6 4.5 0 3 1.6 4.5 0" />
      <path d="M3 18c1.5-1.6 3-1.6 4.5 0s3 1.6 4.5 0 3-1.6 4.5 0 3 1.6 4.5 0" />
    </svg>
  );
}

const paths = {
  close: "M4 4l8 8M12 4l-8 8",
  copy: "M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z",
  done: "M3 8.5l3.5 3.5L13 4.5",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  play: "M5 3.5l7 4.5-7 4.5z",
  search: "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10zM10.8 10.8L14 14",
  back: "M10 3L5 8l5 5",
  next: "M6 3l5 5-5 5",
} as const;

export function Icon({ name }: { readonly name: keyof typeof paths }) {
  return (
    <svg {...common}>
      <path d={paths[name]} />
    </svg>
  );
}
