import { readFileSync } from 'node:fs'

/** A wrong command line: one clear line on stderr, exit code 2. */
export class UsageError extends Error {}

/** What `--listen` may say: `HOST:PORT`, `[IPv6]:PORT` or `PORT`. @throws UsageError */
export function parseListen(text: string): { host: string; port: number } {
  const match = /^(?:(?:\[([^\]]+)\]|([^:[\]]+)):)?([0-9]{1,5})$/.exec(text)
  const port = Number(match?.[3])
  if (match === null || port > 65_535) throw new UsageError('--listen takes HOST:PORT, [IPv6]:PORT or PORT')
  return { host: match[1] ?? match[2] ?? '127.0.0.1', port }
}

/** `HOST:PORT` or `[IPv6]:PORT`, both there. @throws UsageError */
export function parseHostPort(text: string, what: string): { host: string; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):([0-9]{1,5})$/.exec(text)
  const [, bracketed, plain, digits] = match ?? []
  const host = bracketed ?? plain
  const port = Number(digits)
  if (host === undefined || port < 1 || port > 65_535) throw new UsageError(`${what} is HOST:PORT or [IPv6]:PORT`)
  return { host, port }
}

/** `NAME:PASSWORD`, split at the first colon. The text is a secret: no error repeats it. @throws UsageError */
export function parseUser(text: string, source: string): readonly [name: string, password: string] {
  const colon = text.indexOf(':')
  if (colon < 1) throw new UsageError(`${source}: expected NAME:PASSWORD`)
  const name = text.slice(0, colon)
  const password = text.slice(colon + 1)
  if ([name, password].some((part) => Buffer.byteLength(part) > 255)) {
    throw new UsageError(`${source}: a name and a password are at most 255 bytes each`)
  }
  return [name, password]
}

/** A file of `NAME:PASSWORD` lines; empty lines and those that begin with `#` are skipped. @throws UsageError */
export function readUsers(path: string): (readonly [name: string, password: string])[] {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    throw new UsageError(`--users: cannot read ${path} (${errorCode(error)})`)
  }
  // Some editors begin a file with a byte order mark, which is no part of the first name.
  return text
    .replace(/^\ufeff/, '')
    .split('\n')
    .flatMap((line, index) => {
      const user = line.replace(/\r$/, '')
      return user === '' || user.startsWith('#') ? [] : [parseUser(user, `--users: ${path}, line ${index + 1}`)]
    })
}

/** Proxies given as options, else those of `TUBESOCK_PROXY`: a list separated by blanks or commas. Several are a chain. */
export function proxyUrls(
  given: readonly string[],
  env: { readonly [name: string]: string | undefined },
): readonly string[] {
  return given.length > 0 ? given : (env.TUBESOCK_PROXY ?? '').split(/[\s,]+/).filter((url) => url !== '')
}

/** A positive number of seconds as milliseconds; 0 is no limit. @throws UsageError */
export function parseSeconds(text: string, option: string): number {
  const ms = Number(text) * 1000
  if (text.trim() === '' || !(ms >= 0 && ms <= 0x7fff_ffff)) throw new UsageError(`${option} takes a number of seconds`)
  return ms
}

/** One of a list of words. @throws UsageError */
export function oneOf<T extends string>(text: string, words: readonly T[], option: string): T {
  const word = words.find((candidate) => candidate === text)
  if (word === undefined) throw new UsageError(`${option} takes ${words.join('|')}, got ${JSON.stringify(text)}`)
  return word
}

/** A list of words with commas between. @throws UsageError */
export function listOf<T extends string>(text: string, words: readonly T[], option: string): T[] {
  return text.split(',').map((word) => oneOf(word.trim(), words, option))
}

/** A number of things, 0 to 1,024. @throws UsageError */
export function parseCount(text: string, option: string): number {
  if (!/^[0-9]{1,4}$/.test(text) || Number(text) > 1_024) throw new UsageError(`${option} takes a number up to 1024`)
  return Number(text)
}

/** System error code, or the message where there is none. */
export function errorCode(error: unknown): string {
  const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined
  return typeof code === 'string' ? code : String(error instanceof Error ? error.message : error)
}
