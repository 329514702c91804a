import { inspect } from 'node:util'
import { expect } from 'vitest'
import { SocksError, type SocksErrorCode } from '../../src/codec/errors.js'

/** In every test: the user, the password, and a mark in what the scripted proxies say. */
export const USER = 'alice-user'
export const PASSWORD = 'hunter2-secret'
export const MARK = 'PEERMARK'

/** The rejection of a promise. */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => {
      throw new Error('it did not fail')
    },
    (error: unknown) => error,
  )
}

/** A failure with this code, in which nothing is said of the password, the user or the peer's bytes. */
export async function failure(promise: Promise<unknown>, code: SocksErrorCode): Promise<SocksError> {
  const error = await rejection(promise)
  checkHygiene(error)
  expect(error).toMatchObject({ name: 'SocksError', code })
  if (!(error instanceof SocksError)) throw error
  return error
}

/** No form in which an error can be printed shows a secret or raw bytes of the peer. */
export function checkHygiene(error: unknown): void {
  const printed = [
    error instanceof Error ? `${error.message} ${error.stack}` : '',
    inspect(error, { depth: 9, showHidden: true, getters: true, maxArrayLength: null, maxStringLength: null }),
    JSON.stringify(error),
  ].join('\n')
  for (const secret of [USER, PASSWORD, MARK]) {
    const bytes = Buffer.from(secret)
    const forms = [
      secret,
      encodeURIComponent(secret),
      bytes.toString('hex'),
      bytes.toString('base64').replace(/=+$/, ''),
      (bytes.toString('hex').match(/../g) ?? []).join(' '),
      [...bytes].join(', '),
      [...bytes].join(','),
    ]
    for (const form of forms) expect(printed).not.toContain(form)
  }
}
