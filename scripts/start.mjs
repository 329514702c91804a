// @ts-check
// `npm start`: the `serve` command, and beside it a page to fetch through it, so that the line to try works offline too.
import { spawn } from 'node:child_process'
import { createServer } from 'node:http'

const cli = new URL('../dist/cli.js', import.meta.url).pathname

const page = createServer((_request, response) => {
  response.setHeader('Content-Type', 'text/plain')
  response.end('Hello through SOCKS5. Any other URL works the same way.\n')
})
await new Promise((resolve) => page.listen(0, '127.0.0.1', () => resolve(undefined)))
const address = page.address()
if (address === null || typeof address === 'string') throw new Error('the page has no port')

const server = spawn(process.execPath, [cli, 'serve', ...process.argv.slice(2)], { stdio: ['ignore', 'pipe', 'inherit'] })
server.stdout.setEncoding('utf8')
server.stdout.on('data', (/** @type {string} */ text) => {
  process.stdout.write(text)
  const ready = /listening on socks5:\/\/(\S+)/.exec(text)
  if (ready) process.stdout.write(`try: curl --proxy socks5h://${ready[1]} http://127.0.0.1:${address.port}/\n`)
})

for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM'])) process.on(signal, () => server.kill(signal))
server.on('exit', (code) => process.exit(code ?? 1))
