// IP addresses as text and as bytes. Everything that is decided about an address is decided on its bytes.

const HEX_GROUP = /^[0-9a-f]{1,4}$/i

/** Four bytes of a strict dotted quad (`127.0.0.1`), else `undefined`. Short, octal and hexadecimal spellings are refused. */
export function parseIPv4(text: string): Uint8Array | undefined {
  // Character by character: every request and every reply passes here, and splitting costs ten times as much.
  if (text.length < 7 || text.length > 15) return undefined
  const bytes = new Uint8Array(4)
  let octet = 0
  let digits = 0
  let value = 0
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index)
    if (code === DOT) {
      if (digits === 0 || octet === 3) return undefined
      bytes[octet++] = value
      digits = 0
      value = 0
      continue
    }
    // A zero in front would be octal to some.
    if (code < ZERO || code > NINE || (digits > 0 && value === 0)) return undefined
    value = value * 10 + code - ZERO
    digits++
    if (value > 255) return undefined
  }
  if (octet !== 3 || digits === 0) return undefined
  bytes[3] = value
  return bytes
}

const DOT = 0x2e
const ZERO = 0x30
const NINE = 0x39

/** Sixteen bytes of an IPv6 literal (RFC 4291 section 2.2, every form), else `undefined`. Zones (`%eth0`) and brackets are refused. */
export function parseIPv6(text: string): Uint8Array | undefined {
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const head = parseGroups(halves[0] ?? '', halves.length === 1)
  const tail = halves.length === 2 ? parseGroups(halves[1] ?? '', true) : []
  if (head === undefined || tail === undefined) return undefined
  const missing = 16 - head.length - tail.length
  // "::" stands for one group of zeros or more; without it the text holds all sixteen bytes.
  if (halves.length === 2 ? missing < 2 : missing !== 0) return undefined
  const bytes = new Uint8Array(16)
  bytes.set(head, 0)
  bytes.set(tail, 16 - tail.length)
  return bytes
}

/** Bytes of one side of `::`; an IPv4 tail is allowed only at the very end of the text. */
function parseGroups(text: string, mayEndInIPv4: boolean): number[] | undefined {
  if (text === '') return []
  const bytes: number[] = []
  const groups = text.split(':')
  for (const [index, group] of groups.entries()) {
    const isLast = index === groups.length - 1
    if (isLast && mayEndInIPv4 && group.includes('.')) {
      const tail = parseIPv4(group)
      if (tail === undefined) return undefined
      bytes.push(...tail)
    } else {
      if (!HEX_GROUP.test(group)) return undefined
      const value = Number.parseInt(group, 16)
      bytes.push(value >> 8, value & 0xff)
    }
  }
  return bytes
}

/** Bytes of an IP literal of either family, else `undefined`. */
export function parseIP(text: string): Uint8Array | undefined {
  return text.includes(':') ? parseIPv6(text) : parseIPv4(text)
}

/** Dotted quad of the four bytes at `offset`. */
export function formatIPv4(bytes: Uint8Array, offset = 0): string {
  return `${bytes[offset]}.${bytes[offset + 1]}.${bytes[offset + 2]}.${bytes[offset + 3]}`
}

/** Canonical text (RFC 5952) of the sixteen bytes at `offset`; IPv4-mapped addresses end in a dotted quad (section 5). */
export function formatIPv6(bytes: Uint8Array, offset = 0): string {
  if (isIPv4Mapped(bytes, offset)) return `::ffff:${formatIPv4(bytes, offset + 12)}`
  const groups: number[] = []
  for (let index = 0; index < 16; index += 2) {
    groups.push((at(bytes, offset + index) << 8) | at(bytes, offset + index + 1))
  }
  const { start, length } = longestZeroRun(groups)
  // RFC 5952 section 4.2.2: one group of zeros alone is not shortened.
  if (length < 2) return groups.map(hex).join(':')
  return `${groups.slice(0, start).map(hex).join(':')}::${groups
    .slice(start + length)
    .map(hex)
    .join(':')}`
}

/** Whether the sixteen bytes at `offset` are `::ffff:a.b.c.d`. RFC 4291 section 2.5.5.2. */
export function isIPv4Mapped(bytes: Uint8Array, offset = 0): boolean {
  for (let index = 0; index < 10; index++) if (bytes[offset + index] !== 0) return false
  return bytes[offset + 10] === 0xff && bytes[offset + 11] === 0xff
}

function longestZeroRun(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 }
  let length = 0
  for (const [index, group] of groups.entries()) {
    length = group === 0 ? length + 1 : 0
    // Strictly longer: of equal runs the first is the one to shorten (RFC 5952 section 4.2.3).
    if (length > best.length) best = { start: index - length + 1, length }
  }
  return best
}

function hex(group: number): string {
  return group.toString(16)
}

function at(bytes: Uint8Array, index: number): number {
  return bytes[index] ?? 0
}
