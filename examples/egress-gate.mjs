// @ts-check
// An egress gate for code you do not trust: names on a list, public addresses, and a record of every attempt.
import { createSocksServer, egress, userPass } from 'tubesock'

const allowedNames = new Set(['registry.npmjs.org', 'example.com'])

const server = createSocksServer({
  // The sandbox gets a password of its own for each job, so that the record says which one asked.
  auth: userPass({ 'job-17': 'one-time-secret' }),
  authorize: ({ type, host, port }) => type === 'domain' && allowedNames.has(host) && port === 443,
  egress: egress.publicOnly(),
})
server.on('denied', ({ identity, destination, error }) => {
  console.log('denied', identity, destination, error.code)
})

const { port } = await server.listen(0)
console.log(`gate on 127.0.0.1:${port}`)

// The same judgement without a socket: the way out can be asked directly.
for (const host of ['169.254.169.254', 'localhost', 'example.com.evil.test']) {
  await server.outbound.connect({ host, port: 443, identity: { username: 'job-17' } }).then(
    () => console.log('must not happen'),
    (error) => console.log(host, error.code),
  )
}
await server.close()
