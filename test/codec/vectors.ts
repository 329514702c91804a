import { readFileSync } from 'node:fs'

/** A vector of a wire message: see test/vectors/README.md. */
export interface WireVector {
  readonly name: string
  readonly hex: string
  readonly value?: unknown
  readonly encodes?: boolean
  readonly bytesRead?: number
  readonly error?: string
  readonly needMore?: boolean
  readonly options?: Readonly<Record<string, boolean>>
}

export interface DestinationVector {
  readonly name: string
  readonly input: { readonly host: string; readonly port: number }
  readonly value?: unknown
  readonly error?: string
  readonly replyCode?: number
}

export interface IpVector {
  readonly name: string
  readonly text: string
  readonly hex?: string
  readonly canonical?: string
  readonly refused?: boolean
}

export interface IpKindVector {
  readonly name: string
  readonly text: string
  readonly hex: string
  readonly value: string
}

interface Files {
  readonly destination: DestinationVector
  readonly ip: IpVector
  readonly 'ip-kind': IpKindVector
}

/** Files of wire messages. */
export const WIRE_FILES = [
  'greeting',
  'method-selection',
  'credentials',
  'userpass-status',
  'request',
  'reply',
  'udp-datagram',
  'socks4-request',
  'socks4-reply',
  'gssapi-frame',
  'proxy-header',
] as const

export type WireFile = (typeof WIRE_FILES)[number]

/** The vectors of a file in test/vectors. A test checks that each has one of the shapes above. */
export function loadVectors(file: WireFile): readonly WireVector[]
export function loadVectors<File extends keyof Files>(file: File): readonly Files[File][]
export function loadVectors(file: string): readonly unknown[] {
  const content: { vectors: unknown[] } = JSON.parse(
    readFileSync(new URL(`../vectors/${file}.json`, import.meta.url), 'utf8'),
  )
  return content.vectors
}
