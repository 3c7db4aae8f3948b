import { type DescMessage, fromBinary } from "@bufbuild/protobuf";
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

interface Field {
  readonly no: number;
  readonly type: WireType;
  readonly bytes: Uint8Array;
}

/**
 * The same message as other encoders may write it: fields in another order, unknown ones between them, singular ones
 * repeated, sub-messages in two pieces. Checked to be something that protobuf-es still reads.
 */
export function mangle(schema: DescMessage, bytes: Uint8Array, choices: Iterable<number>): Uint8Array {
  const source = choices[Symbol.iterator]();
  const choose = (count: number) => Number(source.next().value ?? 0) % count;
  const mangled = mangleMessage(schema, bytes, choose);
  fromBinary(schema, mangled);
  return mangled;
}

function mangleMessage(schema: DescMessage, bytes: Uint8Array, choose: (count: number) => number): Uint8Array {
  const fields = fieldsOf(bytes);
  const out: Field[] = [];
  for (const field of fields) {
    const known = schema.fields.find(({ number }) => number === field.no);
    const inner =
      known?.fieldKind === "message" || (known?.fieldKind === "list" && known.listKind === "message")
        ? known.message
        : undefined;
    if (inner === undefined || known === undefined) {
      // Repeated scalars are not in the hot messages; a singular one said before is overruled.
      if (known?.fieldKind === "scalar" && choose(6) === 0) out.push(field);
      out.push(field);
      continue;
    }
    const body = mangleMessage(inner, field.bytes, choose);
    if (known.fieldKind === "message" && choose(8) === 0) {
      const pieces = fieldsOf(body);
      const at = choose(pieces.length + 1);
      out.push({ ...field, bytes: write(pieces.slice(0, at)) }, { ...field, bytes: write(pieces.slice(at)) });
    } else out.push({ ...field, bytes: body });
  }
  if (choose(3) === 0) shuffle(out, choose);
  if (choose(3) === 0) out.splice(choose(out.length + 1), 0, unknownField(choose));
  if (choose(20) === 0 && out.length > 0) out.push(out[choose(out.length)] as Field);
  return write(out);
}

function unknownField(choose: (count: number) => number): Field {
  const no = [100, 1000, 536_870_911][choose(3)] as number;
  const all = [
    { no, type: WireType.Varint, bytes: Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01) },
    { no, type: WireType.Bit32, bytes: new Uint8Array(4) },
    { no, type: WireType.Bit64, bytes: new Uint8Array(8) },
    { no, type: WireType.LengthDelimited, bytes: new Uint8Array(choose(200)) },
    {
      no,
      type: WireType.StartGroup,
      bytes: new BinaryWriter().tag(3, WireType.Varint).uint32(1).tag(no, WireType.EndGroup).finish(),
    },
  ];
  return all[choose(all.length)] as Field;
}

function shuffle(list: Field[], choose: (count: number) => number): void {
  for (let n = list.length - 1; n > 0; n--) {
    const other = choose(n + 1);
    [list[n], list[other]] = [list[other] as Field, list[n] as Field];
  }
}

function fieldsOf(bytes: Uint8Array): Field[] {
  const reader = new BinaryReader(bytes);
  const fields: Field[] = [];
  while (reader.pos < reader.len) {
    const [no, type] = reader.tag();
    if (type === WireType.LengthDelimited) fields.push({ no, type, bytes: reader.bytes() });
    else fields.push({ no, type, bytes: Uint8Array.from(reader.skip(type, no)) });
  }
  return fields;
}

function write(fields: readonly Field[]): Uint8Array {
  const writer = new BinaryWriter();
  for (const { no, type, bytes } of fields) {
    writer.tag(no, type);
    if (type === WireType.LengthDelimited) writer.bytes(bytes);
    else writer.raw(bytes);
  }
  return writer.finish();
}
