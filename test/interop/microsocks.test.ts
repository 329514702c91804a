import { describe } from 'vitest'
import { PASSWORD, USER } from '../client/hygiene.js'
import { requireProgram } from '../support/programs.js'
import { proveConnect, proveFailedLogins, proveTimeout, type Subject } from './cases.js'
import { shared, startMicrosocks } from './peers.js'

const REFUSED = { code: 'ERR_SOCKS_CONNECTION_REFUSED', replyCode: 5 } as const

describe('microsocks', () => {
  const program = requireProgram('microsocks', 'microsocks')
  const peer = shared([program], () => startMicrosocks())
  const subject: Subject = { name: 'microsocks', port: () => peer().port, refused: REFUSED }

  proveConnect(subject)
  proveTimeout(subject, peer)
  proveFailedLogins(subject, [
    {
      what: 'password insisted on',
      userinfo: `${USER}:${PASSWORD}`,
      requireAuth: true,
      code: 'ERR_SOCKS_NO_ACCEPTABLE_METHOD',
    },
  ])
})

describe('microsocks with a password', () => {
  const program = requireProgram('microsocks', 'microsocks')
  const peer = shared([program], () => startMicrosocks({ username: USER, password: PASSWORD }))
  const subject: Subject = {
    name: 'microsocks -u -P',
    port: () => peer().port,
    userinfo: `${USER}:${PASSWORD}`,
    refused: REFUSED,
  }

  proveConnect(subject)
  proveFailedLogins(subject, [
    { what: 'wrong password', userinfo: `${USER}:not-${PASSWORD}`, code: 'ERR_SOCKS_AUTH_FAILED' },
    { what: 'unknown user', userinfo: `nobody:${PASSWORD}`, code: 'ERR_SOCKS_AUTH_FAILED' },
    { what: 'empty password', userinfo: `${USER}:`, code: 'ERR_SOCKS_AUTH_FAILED' },
    { what: 'no password', code: 'ERR_SOCKS_NO_ACCEPTABLE_METHOD' },
  ])
})
