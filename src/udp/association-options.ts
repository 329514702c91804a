import type { Duplex } from 'node:stream'
import { invalidArgument, outOfRange } from '../codec/arguments.js'
import { type Destination, parseDestination } from '../codec/index.js'
import { isByteStream } from '../stream/byte-stream.js'
import type { Decide } from './judge.js'
import { assertOptionTypes, bindable, type OptionType } from './options.js'

/** Options of `openUdpAssociation`. */
export interface UdpAssociationOptions {
  /** The connection on which UDP ASSOCIATE was granted. It is read from now on, and dropped; its end is the association's. */
  readonly control: Duplex
  /** Address of the relay, an IP literal: BND of the reply, or what stands for it. */
  readonly relayHost: string
  /** Port of the relay, 1 to 65535. */
  readonly relayPort: number
  /** IP address to send from: that of the control connection, where the relay sees it. Default: what the system chooses. */
  readonly localAddress?: string | undefined
  /** Reads the host and port of a `send`. Default `parseDestination`, which takes ASCII. */
  readonly parseTarget?: ((host: string, port: number) => Destination) | undefined
  /** Looks names up on this side; `undefined` is "no address". Default: the proxy gets the name. */
  readonly resolve?: Decide | undefined
  /** Put fragments of the relay together (RFC 1928 section 7). Default `false`: they are dropped. */
  readonly reassemble?: boolean | undefined
  /** Datagrams that wait for each loop over the association; then the oldest is dropped. Default 256. */
  readonly maxQueued?: number | undefined
  /** Closes the association; before it is open, the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined
}

/** Checked options with every default filled in. */
export interface UdpAssociationSettings {
  readonly control: Duplex
  readonly relayHost: string
  readonly relayPort: number
  readonly localAddress: string
  readonly parseTarget: (host: string, port: number) => Destination
  readonly resolve: Decide | undefined
  readonly reassemble: boolean
  readonly maxQueued: number
  readonly signal: AbortSignal | undefined
}

const TYPES: Readonly<Record<keyof UdpAssociationOptions, OptionType>> = {
  control: 'object',
  relayHost: 'ip',
  relayPort: 'port',
  localAddress: 'ip',
  parseTarget: 'function',
  resolve: 'function',
  reassemble: 'boolean',
  maxQueued: 'count',
  signal: 'signal',
}

/** @throws TypeError `ERR_INVALID_ARG_VALUE`, RangeError `ERR_OUT_OF_RANGE`. */
export function associationSettings(options: UdpAssociationOptions): UdpAssociationSettings {
  assertOptionTypes(options, TYPES)
  if (!isByteStream(options.control)) throw invalidArgument('option control must be a Duplex of bytes')
  const relayHost = bindable(options.relayHost, 'option relayHost')
  const { relayPort, localAddress = relayHost.includes(':') ? '::' : '0.0.0.0' } = options
  if (relayPort === undefined || relayPort === 0)
    throw outOfRange('option relayPort must be an integer from 1 to 65535')
  const local = bindable(localAddress, 'option localAddress')
  if (local.includes(':') !== relayHost.includes(':')) throw invalidArgument('localAddress is of another family')
  return {
    control: options.control,
    relayHost,
    relayPort,
    localAddress: local,
    parseTarget: options.parseTarget ?? parseDestination,
    resolve: options.resolve,
    reassemble: options.reassemble ?? false,
    maxQueued: options.maxQueued ?? 256,
    signal: options.signal,
  }
}
