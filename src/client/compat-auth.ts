import { invalidArgument, outOfRange } from '../codec/arguments.js'
import { type ClientMethod, customMethod } from './auth-method.js'
import type { SocksProxy } from './compat-types.js'

// Private methods. RFC 1928 section 3.
const FIRST_PRIVATE = 0x80
const LAST_PRIVATE = 0xfe

/**
 * The method that the `custom_auth` options describe: one message, one answer of a fixed size.
 * @throws TypeError, RangeError where one of them is missing or cannot be.
 */
export function customAuth(proxy: SocksProxy): ClientMethod | undefined {
  const { custom_auth_method: code, custom_auth_response_size: size } = proxy
  const { custom_auth_request_handler: request, custom_auth_response_handler: judge } = proxy
  if (code === undefined || code === null || proxy.type === 4) return undefined
  if (!(Number.isInteger(code) && code >= FIRST_PRIVATE && code <= LAST_PRIVATE)) {
    throw outOfRange('custom_auth_method must be an integer from 0x80 to 0xfe')
  }
  if (typeof request !== 'function' || typeof judge !== 'function') {
    throw invalidArgument('custom_auth_method needs custom_auth_request_handler and custom_auth_response_handler')
  }
  if (size === undefined || !(Number.isSafeInteger(size) && size >= 0)) {
    throw outOfRange('custom_auth_response_size must be a number of bytes')
  }
  return customMethod(code, async (channel) => {
    channel.write(await request.call(proxy))
    const answer = Buffer.from(await channel.readExactly(size))
    return (await judge.call(proxy, answer)) ? undefined : false
  })
}
