import { parseIP } from '../codec/ip.js'
import { matchesPrefix } from '../codec/ip-kind.js'

/** Where a connection is to go, as far as `NO_PROXY` cares: a URL, a host, `host:port`, or an object with `host`. */
export type ProxyTarget = string | URL | { readonly host: string; readonly port?: number | undefined }

const SOCKS_URL = /^socks(?:4a?|5h?)?:\/\//i

/**
 * The SOCKS proxy that the environment names, as curl reads it, or `undefined` when there is none or `target` is
 * excepted.
 *
 * `all_proxy` comes before `ALL_PROXY` and `no_proxy` before `NO_PROXY`; an empty variable is no variable. A proxy of
 * another kind (`http://`, or no scheme, which means HTTP) is not returned. `NO_PROXY` is `*` alone, or a list of names
 * (each stands for itself and everything below it, a leading dot is ignored), IP addresses and CIDR blocks. Names are
 * not looked up to compare addresses, and ports in the list are not understood. The result may hold a password.
 */
export function proxyFromEnv(
  target?: ProxyTarget,
  env: { readonly [name: string]: string | undefined } = process.env,
): string | undefined {
  const proxy = env.all_proxy || env.ALL_PROXY
  if (!proxy || !SOCKS_URL.test(proxy)) return undefined
  const exceptions = env.no_proxy || env.NO_PROXY
  if (target === undefined || !exceptions) return proxy
  return isExcepted(hostOf(target), exceptions) ? undefined : proxy
}

function isExcepted(host: string, exceptions: string): boolean {
  if (exceptions === '*') return true
  const address = parseIP(host)
  const patterns = exceptions.split(/[\s,]+/).filter((pattern) => pattern !== '')
  return patterns.some((pattern) => (address ? matchesBlock(address, pattern) : matchesName(host, pattern)))
}

/** An address against an address or a block; the other family never matches. */
function matchesBlock(address: Uint8Array, pattern: string): boolean {
  const [text = '', bits, ...rest] = pattern.split('/')
  const network = parseIP(text)
  if (network === undefined || rest.length > 0) return false
  const width = network.length * 8
  if (bits === undefined) return matchesPrefix(address, network, width)
  // As in curl, /0 is no block of everything: it would let the whole world past the proxy.
  return /^[0-9]{1,3}$/.test(bits) && Number(bits) <= width && matchesPrefix(address, network, Number(bits) || width)
}

/** A name against a domain: equal, or below it by whole labels. */
function matchesName(host: string, pattern: string): boolean {
  const name = withoutFinalDot(host).toLowerCase()
  const domain = withoutFinalDot(pattern).replace(/^\./, '').toLowerCase()
  return domain !== '' && (name === domain || name.endsWith(`.${domain}`))
}

function hostOf(target: ProxyTarget): string {
  if (typeof target !== 'string') return withoutBrackets(target instanceof URL ? target.hostname : target.host)
  if (target.includes('://')) return URL.canParse(target) ? withoutBrackets(new URL(target).hostname) : ''
  if (parseIP(target) !== undefined) return target
  return withoutBrackets(target.replace(/:[0-9]*$/, ''))
}

function withoutBrackets(host: string): string {
  return host.replace(/^\[(.*)\]$/, '$1')
}

function withoutFinalDot(name: string): string {
  return name.endsWith('.') ? name.slice(0, -1) : name
}
