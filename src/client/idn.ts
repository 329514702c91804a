import { domainToASCII } from 'node:url'
import { type Destination, parseDestination } from '../codec/destination.js'
import { SocksError } from '../codec/errors.js'

// What ASCII may stand in an international name. Checked before conversion: domainToASCII reads its input as the host of
// a URL, drops tabs and line feeds, and stops at '/', '?', '#' and '\', so that 'evil.example/ü' would become 'evil.example'.
// biome-ignore lint/suspicious/noControlCharactersInRegex: the class is "all of ASCII but these".
const FOREIGN_ASCII = /[\x00-\x7f]/
const NAME_ASCII = /[A-Za-z0-9._-]/g

// Characters; far above any name that fits 253 bytes, and bounds the work of the conversion.
const MAX_INTERNATIONAL = 1024

/**
 * The destination that a person means by a host and a port. International names become punycode; what they become is
 * judged like any other host, lengths in bytes included.
 * @throws SocksError `ERR_SOCKS_INVALID_HOST`, `ERR_SOCKS_INVALID_PORT` as `parseDestination` does.
 */
export function parseTarget(host: string, port: number): Destination {
  return parseDestination(toASCII(host), port)
}

function toASCII(host: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: all of ASCII.
  if (/^[\x00-\x7f]*$/.test(host)) return host
  const tooLong = host.length > MAX_INTERNATIONAL
  const ascii = tooLong || FOREIGN_ASCII.test(host.replace(NAME_ASCII, '')) ? '' : domainToASCII(host)
  if (ascii === '') throw new SocksError('ERR_SOCKS_INVALID_HOST', 'host is not a valid international name')
  return ascii
}
