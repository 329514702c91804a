import type { Duplex } from 'node:stream'
import { type Address, Command, type Destination, ReplyCode, replyError, type SocksError } from '../codec/index.js'
import { bind } from './bind.js'
import type { Candidate } from './dial.js'
import type { ServerSettings } from './options.js'
import type { OutboundTarget } from './request.js'
import { type Association, udpAssociate } from './udp.js'

/** Commands that a server can be told to serve. */
export type CommandName = 'connect' | 'bind' | 'udp-associate' | 'resolve' | 'resolve-ptr'

/** CMD byte -> the name of the command. */
export const COMMAND_NAMES: Readonly<Record<number, CommandName>> = {
  [Command.connect]: 'connect',
  [Command.bind]: 'bind',
  [Command.udpAssociate]: 'udp-associate',
  [Command.resolve]: 'resolve',
  [Command.resolvePtr]: 'resolve-ptr',
}

/** What a command has come to: a stream to be joined with the client's, or an answer that ends the connection. */
export interface Way {
  readonly stream?: Duplex
  /** What the client is told as BND. */
  readonly bound: Address
  readonly rules: readonly string[]
}

/** What the connection that received a request does for its command. */
export interface CommandContext {
  readonly settings: ServerSettings
  readonly version: 4 | 5
  /** The client's stream, whose near address tells where it can be reached. */
  readonly stream: Duplex
  /** Whether the client still waits for its answer. */
  isWaiting(): boolean
  /** Sends the first of two replies. */
  listening(bound: Address): void
  /** Tells of a denial that does not end the request. */
  denied(error: SocksError, destination?: Destination): void
  /** Sends the reply, and keeps the relay as long as the client. */
  associated(association: Association, bound: Address): void
  /** Sends the last reply and goes on. */
  established(way: Way): void
}

/** Serves one request. Rejects with the SocksError that is answered. */
export type CommandHandler = (context: CommandContext, target: OutboundTarget) => Promise<void>

/** What each command does but CONNECT, which the connection does itself. */
export const HANDLERS: Readonly<Record<Exclude<CommandName, 'connect'>, CommandHandler>> = {
  bind,
  'udp-associate': udpAssociate,
  resolve,
  'resolve-ptr': resolvePointer,
}

/** Tor's RESOLVE: the reply's BND is the address, and the connection ends. */
async function resolve(context: CommandContext, target: OutboundTarget): Promise<void> {
  assertKnowsNames(context)
  const { found, rules } = await context.settings.outbound.resolve(target)
  // SOCKS4a has no room for IPv6.
  const answer = context.version === 4 ? found.find(({ type }) => type === 'ipv4') : preferred(found)
  if (answer === undefined) throw replyError(ReplyCode.hostUnreachable, `no IPv4 address for ${target.host}`)
  if (context.isWaiting()) context.established({ bound: { ...answer, port: 0 }, rules })
}

/** Tor's RESOLVE_PTR: the reply's BND is the name. */
async function resolvePointer(context: CommandContext, target: OutboundTarget): Promise<void> {
  assertKnowsNames(context)
  const { outbound } = context.settings
  const { type, host } = target.session?.destination ?? { type: 'domain', host: target.host }
  if (type === 'domain')
    throw replyError(ReplyCode.addressTypeNotSupported, 'only an address has a pointer to its name')
  const { found, rules } = await outbound.resolvePointer({ ...target, host })
  if (context.isWaiting()) context.established({ bound: { type: 'domain', host: found, port: 0 }, rules })
}

/** As clients of Tor expect: IPv4 where there is one. */
function preferred(found: readonly Candidate[]): Destination | undefined {
  return found.find(({ type }) => type === 'ipv4') ?? found[0]
}

/** Where a dialer knows names better, this host's look-ups would go beside it. */
function assertKnowsNames({ settings }: CommandContext): void {
  if (!settings.outbound.looksUpNames) {
    throw replyError(ReplyCode.commandNotSupported, "names are the dialer's to look up", { rule: 'commands' })
  }
}
