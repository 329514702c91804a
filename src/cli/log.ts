import { isSocksError } from '../codec/index.js'
import type { ClosedInfo, Identity, SocksServer } from '../server/index.js'

/** What `--log` may say. */
export const LOG_FORMATS = ['text', 'json', 'none'] as const

/**
 * Writes what a server does to a stream. `text`: a line for each denial and error. `json`: a line for each event.
 * Names that clients choose are quoted, so that they cannot forge a line. `worker`: which one of several writes.
 */
export function logServer(
  server: SocksServer,
  format: (typeof LOG_FORMATS)[number],
  out: NodeJS.WritableStream,
  worker: number | undefined,
): void {
  if (format === 'none') return
  const write = format === 'json' ? jsonLine : textLine
  const log = (event: string, fields: Fields): void => {
    const line = write(event, worker === undefined ? fields : { worker, ...fields })
    if (line !== undefined) out.write(`${line}\n`)
  }
  if (format === 'json') {
    server.on('session', ({ id, clientAddress, clientPort }) =>
      log('session', { id, client: clientAddress, clientPort }),
    )
    server.on('request', ({ session, command, identity, destination }) =>
      log('request', { id: session.id, user: userOf(identity), command, ...target(destination) }),
    )
    server.on('denied', ({ session, command, identity, destination, rule, error }) => {
      const where = destination === undefined ? {} : target(destination)
      log('denied', { id: session.id, user: userOf(identity), command, ...where, rule, code: error.code })
    })
    server.on('listening', ({ session, bound }) =>
      log('listening', { id: session.id, boundHost: bound.host, boundPort: bound.port }),
    )
    server.on('established', ({ session, bound }) =>
      log('established', { id: session.id, boundHost: bound.host, boundPort: bound.port }),
    )
  }
  server.on('closed', (info) => log('closed', closedFields(info)))
  // What concerns a session is told when it closes; here are the listener's own failures and those of hooks.
  server.on('error', (error, session) => {
    if (session === undefined) log('error', { error: describe(error) })
    else if (isSocksError(error) && error.cause instanceof Error) {
      log('error', { id: session.id, error: describe(error.cause) })
    }
  })
}

type Fields = Readonly<Record<string, string | number | undefined>>

function closedFields({ session, identity, destination, error, ...info }: ClosedInfo): Fields {
  return {
    id: session.id,
    client: session.clientAddress,
    clientPort: session.clientPort,
    user: userOf(identity),
    ...(destination === undefined ? {} : target(destination)),
    bytesUp: info.bytesUp,
    bytesDown: info.bytesDown,
    durationMs: Math.round(info.durationMs),
    reason: info.reason,
    code: error?.code,
    error: error === undefined ? undefined : describe(error),
  }
}

function userOf(identity: Identity | undefined): string | undefined {
  const username = identity?.username
  return typeof username === 'string' ? username : undefined
}

function target({ host, port }: { readonly host: string; readonly port: number }): Fields {
  return { host, port }
}

function describe(error: Error): string {
  const code: unknown = Reflect.get(error, 'code')
  return typeof code === 'string' ? `${code}: ${error.message}` : error.message
}

function jsonLine(event: string, fields: Fields): string {
  return quoted({ time: new Date().toISOString(), event, ...fields })
}

function textLine(event: string, { client, user, host, port, reason, error }: Fields): string | undefined {
  if (error === undefined) return undefined
  // A client that had asked for nothing loses nothing when the server stops.
  if (reason === 'shutdown' && host === undefined) return undefined
  const who = [client ?? '-', ...(user === undefined ? [] : [quoted(user)])].join(' ')
  const where = host === undefined ? '' : ` -> ${host}:${port}`
  const what = String(error).replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ')
  return `${new Date().toISOString()} ${event} ${who}${where} ${what}`
}

/** As JSON that stays on one line and steers no terminal: JSON leaves C1 controls, separators and bidi marks as they are. */
function quoted(value: unknown): string {
  return JSON.stringify(value).replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, escapeUnits)
}

function escapeUnits(text: string): string {
  return text
    .split('')
    .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
    .join('')
}
