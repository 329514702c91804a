import { UsageError } from './command-line.js'

// A line of a dump: its offset, its bytes, and a column of text that is dropped.
// xxd "00000000: 0501 0003  ....", tcpdump -X "\t0x0000:  4500 0049  E..I": a colon behind the offset.
const COLON_LINE = /^\s*(?:0x)?([0-9a-f]{4,8}):(?:\s+|$)(.*)$/i
// hexdump -C "00000000  05 01  03 04  |....|": eight digits, and a last line with the offset alone.
const HEXDUMP_LINE = /^([0-9a-f]{8})(?:\s\s((?:[0-9a-f]{2}\s{1,2})+)\s*\|.*|\s*)$/i
// Wireshark "0000   05 01 00   ...".
const WIRESHARK_LINE = /^([0-9a-f]{4})\s{2,3}((?:[0-9a-f]{2}(?:\s{1,2}|$))+)(?:\s.*)?$/i

/** Bytes that asterisks may stand for in one input: an offset can claim up to 4 GiB. */
const MAX_REPEATED = 1 << 20

interface DumpLine {
  readonly offset: number
  readonly bytes: readonly number[]
}

/**
 * The bytes that a person has pasted: plain hexadecimal in any of the usual spellings, or a dump by tcpdump -X, xxd,
 * hexdump -C or Wireshark. A dump may hold several packets, each beginning at offset 0.
 * @throws UsageError that names the line.
 */
export function parseHexInput(text: string): { readonly isDump: boolean; readonly packets: readonly Uint8Array[] } {
  const lines = text.split(/\r?\n/)
  const dumpLines = lines.map(parseDumpLine)
  if (dumpLines.some((line) => line !== undefined && line.bytes.length > 0)) {
    return { isDump: true, packets: joinDump(dumpLines, lines) }
  }
  const bytes = Uint8Array.from(lines.flatMap((line, index) => parsePlainLine(line, index + 1)))
  return { isDump: false, packets: bytes.length === 0 ? [] : [bytes] }
}

function parseDumpLine(line: string): DumpLine | undefined {
  const colon = COLON_LINE.exec(line)
  if (colon !== null) {
    // Groups of digits stand one space apart; the text column begins behind two.
    const [digits = ''] = (colon[2] ?? '').split(/\s{2,}/)
    return /^(?:[0-9a-f]{2}|\s)*$/i.test(digits) ? dumpLine(colon[1], digits) : undefined
  }
  const columns = HEXDUMP_LINE.exec(line) ?? WIRESHARK_LINE.exec(line)
  return columns === null ? undefined : dumpLine(columns[1], columns[2] ?? '')
}

function dumpLine(offset = '', digits: string): DumpLine {
  return { offset: Number.parseInt(offset, 16), bytes: hexBytes(digits) }
}

function joinDump(dumpLines: readonly (DumpLine | undefined)[], lines: readonly string[]): Uint8Array[] {
  const packets: number[][] = []
  let packet: number[] = []
  let isRepeated = false
  let repeatable = MAX_REPEATED
  for (const [index, line] of dumpLines.entries()) {
    if (line === undefined) {
      // Lines like tcpdump's headers are skipped; hexdump and xxd -a write an asterisk for lines like the one above.
      isRepeated = lines[index]?.trim() === '*'
      continue
    }
    if (line.offset === 0) {
      packet = []
      packets.push(packet)
    }
    if (isRepeated) repeatable -= repeatLastLine(packet, Math.min(line.offset, packet.length + repeatable))
    isRepeated = false
    if (line.offset !== packet.length) {
      throw new UsageError(`line ${index + 1}: the dump goes on at byte ${line.offset}, not at byte ${packet.length}`)
    }
    for (const byte of line.bytes) packet.push(byte)
  }
  return packets.map((bytes) => Uint8Array.from(bytes))
}

/** Appends the last line until `end` is reached; returns how many bytes that took. */
function repeatLastLine(packet: number[], end: number): number {
  if (packet.length < 16) return 0
  const { length } = packet
  const line = packet.slice(-16)
  while (packet.length + 16 <= end) packet.push(...line)
  return packet.length - length
}

function parsePlainLine(line: string, number: number): number[] {
  const bytes: number[] = []
  // Whatever people put between bytes: spaces, colons, commas, quotes, braces, and "0x" or "\x" in front.
  for (const match of line.matchAll(/[^\s:,;"'{}[\]]+/g)) {
    const digits = match[0].replace(/^0x([0-9a-f])$/i, '0$1').replace(/0x|\\x/gi, '')
    if (!/^(?:[0-9a-f]{2})*$/i.test(digits)) {
      const where = `line ${number}, column ${match.index + 1}`
      const what = /^[0-9a-f]*$/i.test(digits) ? 'an odd number of hexadecimal digits' : 'not hexadecimal'
      // Printable ASCII alone: other characters may steer a terminal.
      const word = match[0].slice(0, 20).replaceAll(/[^ -~]/g, '?')
      throw new UsageError(`${where}: ${JSON.stringify(word)} is ${what}`)
    }
    for (const byte of hexBytes(digits)) bytes.push(byte)
  }
  return bytes
}

function hexBytes(digits: string): number[] {
  return Array.from(digits.matchAll(/[0-9a-f]{2}/gi), ([pair]) => Number.parseInt(pair, 16))
}
