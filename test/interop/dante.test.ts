import { describe } from 'vitest'
import { PASSWORD, USER } from '../client/hygiene.js'
import { requireProgram } from '../support/programs.js'
import { proveConnect, proveFailedLogins, proveTimeout, type Subject } from './cases.js'
import { shared, startDante } from './peers.js'

describe('Dante', () => {
  const program = requireProgram('danted', 'dante-server')
  const peer = shared([program], () => startDante())
  const subject: Subject = {
    name: 'Dante',
    port: () => peer().port,
    // Credentials that it does not want do no harm.
    userinfo: `${USER}:${PASSWORD}`,
    refused: { code: 'ERR_SOCKS_CONNECTION_REFUSED', replyCode: 5 },
  }

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

// Its users are the system's, which no test should add to: what is left to prove is how it turns strangers away.
describe('Dante with a password', () => {
  const program = requireProgram('danted', 'dante-server')
  const peer = shared([program], () => startDante('username'))

  proveFailedLogins({ name: 'Dante, method username', port: () => peer().port }, [
    { what: 'unknown user', userinfo: `${USER}:${PASSWORD}`, code: 'ERR_SOCKS_AUTH_FAILED' },
    { what: 'no password', code: 'ERR_SOCKS_NO_ACCEPTABLE_METHOD' },
  ])
})
