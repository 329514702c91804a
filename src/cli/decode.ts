import { parseArgs } from 'node:util'
import { type DissectedField, type DissectedMessage, type DissectOptions, dissect } from '../codec/dissect.js'
import { errorCode, UsageError } from './command-line.js'
import { parseHexInput } from './hex-input.js'
import type { CommandIo } from './io.js'
import { type PacketPayload, parsePacket } from './packet.js'

export const DECODE_USAGE = `tubesock decode [options] [HEX]...

  Says what bytes mean as SOCKS. Without arguments it reads standard input: plain hexadecimal,
  or a dump by tcpdump -X, xxd, hexdump -C or Wireshark.

  --from client|server         who sent the bytes, where that is ambiguous
  --show-passwords             do not mask passwords
`

// Enough for a long capture; a wrong file is stopped before it fills the memory.
const MAX_INPUT = 16 << 20
const BYTES_PER_LINE = 8

/**
 * `tubesock decode`: prints what bytes mean. Resolves to the exit code: 0 when all bytes are SOCKS, 1 when something in
 * them is not, 2 for input that is no hexadecimal.
 */
export async function decode(argv: readonly string[], io: CommandIo = process): Promise<number> {
  try {
    const { options, words } = parseCommandLine(argv)
    const text = words.length > 0 ? words.join('\n') : await readAll(io.stdin)
    const { isDump, packets } = parseHexInput(text)
    if (packets.length === 0) throw new UsageError('no bytes to decode')
    const parts = isDump ? splitStreams(packets) : packets.map((bytes): Part => ({ title: '', bytes, from: undefined }))
    const results = parts.map((part) => printPart(part, options, io))
    return results.every((isSocks) => isSocks) ? 0 : 1
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    io.stderr.write(`tubesock decode: ${error.message}\n`)
    return 2
  }
}

interface Part {
  readonly title: string
  readonly bytes: Uint8Array
  readonly from: DissectOptions['from']
}

function parseCommandLine(argv: readonly string[]): { options: DissectOptions; words: string[] } {
  try {
    const { values, positionals } = parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: { from: { type: 'string' }, 'show-passwords': { type: 'boolean', default: false } },
    })
    const { from } = values
    if (from !== undefined && from !== 'client' && from !== 'server') {
      throw new UsageError('--from takes client or server')
    }
    return { options: { from, showSecrets: values['show-passwords'] }, words: positionals }
  } catch (error) {
    if (error instanceof UsageError || !errorCode(error).startsWith('ERR_PARSE_ARGS_')) throw error
    throw new UsageError(error instanceof Error ? (error.message.split('\n', 1)[0] ?? '') : '')
  }
}

async function readAll(stdin: CommandIo['stdin']): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of stdin) {
    const bytes = Buffer.from(chunk)
    length += bytes.length
    if (length > MAX_INPUT) throw new UsageError(`more than ${MAX_INPUT >> 20} MiB of input`)
    chunks.push(bytes)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** The packets of a dump, sorted into conversations: each direction of a TCP connection is one stream of bytes. */
function splitStreams(packets: readonly Uint8Array[]): Part[] {
  const streams = new Map<string, { first: PacketPayload; payloads: Map<number, Uint8Array> }>()
  const parts: Part[] = []
  const clients = new Set<string>()
  for (const [index, bytes] of packets.entries()) {
    const packet = parsePacket(bytes)
    if (packet === undefined) {
      parts.push({ title: packets.length > 1 ? `packet ${index + 1}` : '', bytes, from: undefined })
      continue
    }
    if (packet.isOpening) clients.add(`${packet.source} > ${packet.destination}`)
    if (packet.payload.length === 0) continue
    const isDatagram = packet.protocol === 'UDP'
    const key = `${packet.source} > ${packet.destination} (${packet.protocol}${isDatagram ? `, packet ${index + 1}` : ''})`
    const stream = streams.get(key) ?? { first: packet, payloads: new Map<number, Uint8Array>() }
    // A retransmission carries the same sequence number.
    if (!stream.payloads.has(packet.sequence)) stream.payloads.set(packet.sequence, packet.payload)
    streams.set(key, stream)
  }
  for (const [title, { first, payloads }] of streams) {
    const { source, destination } = first
    const isClient = clients.has(`${source} > ${destination}`)
    const isServer = clients.has(`${destination} > ${source}`)
    const from = isClient ? 'client' : isServer ? 'server' : undefined
    parts.push({ title, bytes: Buffer.concat([...payloads.values()]), from })
  }
  if (parts.length === 0) throw new UsageError('the packets carry no data')
  return parts
}

/** Prints one stream or datagram; whether all of it is SOCKS. */
function printPart({ title, bytes, from }: Part, options: DissectOptions, { stdout }: CommandIo): boolean {
  const { messages, problem, alternatives } = dissect(bytes, { ...options, from: options.from ?? from })
  const lines = title === '' ? [] : [title]
  for (const message of messages) lines.push(...formatMessage(message, bytes))
  if (problem !== undefined) lines.push(`! ${problem.message}`)
  for (const alternative of alternatives) lines.push(`or: ${alternative}`)
  stdout.write(`${lines.join('\n')}\n\n`)
  return problem === undefined
}

function formatMessage({ kind, summary, length, fields }: DissectedMessage, bytes: Uint8Array): string[] {
  const title = `${kind}: ${summary} (${length} ${length === 1 ? 'byte' : 'bytes'})`
  return [title, ...fields.flatMap((field) => formatField(field, bytes))]
}

/** `  0005  77 77 77 2e 67 6f 6f 67  DST.ADDR  www.google.com`, with further bytes on lines of their own. */
function formatField({ offset, length, name, value, meaning, secret }: DissectedField, bytes: Uint8Array): string[] {
  const shown = secret ? '**' : hexColumn(bytes, offset, Math.min(length, BYTES_PER_LINE))
  const text = meaning === '' ? value : `${value} (${meaning})`
  const lines = [`  ${position(offset)}  ${shown.padEnd(BYTES_PER_LINE * 3 - 1)}  ${name.padEnd(8)}  ${text}`]
  // Two lines of what the tunnel carries are enough to recognise it.
  const end = secret ? 0 : Math.min(length, name === 'DATA' ? 2 * BYTES_PER_LINE : length)
  for (let start = BYTES_PER_LINE; start < end; start += BYTES_PER_LINE) {
    lines.push(
      `  ${position(offset + start)}  ${hexColumn(bytes, offset + start, Math.min(end - start, BYTES_PER_LINE))}`,
    )
  }
  return lines
}

function position(offset: number): string {
  return offset.toString(16).padStart(4, '0')
}

function hexColumn(bytes: Uint8Array, offset: number, length: number): string {
  return Array.from(bytes.subarray(offset, offset + length), (byte) => byte.toString(16).padStart(2, '0')).join(' ')
}
