import { describe, expect, it } from 'vitest'
import { codeBlocks, isNpmBlock, npmProblems } from './blocks.js'

const MANIFEST = { name: 'tubesock', scripts: { test: '', start: '', 'check:types': '' } }

describe('blocks of documents', () => {
  it('are found with their language, line and what the comment above them says', () => {
    const markdown = [
      '# Title',
      '```js',
      'a()',
      '```',
      '<!-- run: server -->',
      '```sh',
      'b',
      '',
      '```',
      '<!-- run: skip needs the network -->',
      '',
      '````ts',
      '```',
      '````',
      'text',
      '```',
      'plain',
      '```',
    ].join('\n')
    expect(codeBlocks(markdown)).toEqual([
      { language: 'js', code: 'a()\n', line: 2, how: 'run', reason: '' },
      { language: 'sh', code: 'b\n\n', line: 6, how: 'server', reason: '' },
      { language: 'ts', code: '```\n', line: 12, how: 'skip', reason: 'needs the network' },
      { language: '', code: 'plain\n', line: 16, how: 'run', reason: '' },
    ])
  })

  it.each(['<!-- run: skip -->', '<!-- run: later -->', '<!-- run: server please -->'])('refuses %s', (comment) => {
    expect(() => codeBlocks(`${comment}\n\`\`\`js\n\`\`\``)).toThrow('run: skip REASON')
  })

  it('refuses a block without an end', () => {
    expect(() => codeBlocks('```js\na()')).toThrow('no end')
  })

  it.each([
    ['npm ci && npm start', []],
    ['npm ci\nnpm test  # everything', []],
    ['npm run check:types', []],
    ['npm install tubesock', []],
    ['npm run checks', ['package.json has no script for: npm run checks']],
    ['npm ci && npm tset', ['package.json has no script for: npm tset']],
    ['npm install tubesocks', ['installs another package: npm install tubesocks']],
  ])('npm commands are checked: %j', (code, problems) => {
    expect(isNpmBlock(code)).toBe(true)
    expect(npmProblems(code, MANIFEST)).toEqual(problems)
  })

  it('other commands are not npm commands', () => {
    expect(isNpmBlock('# npm test\ncurl -s http://127.0.0.1/')).toBe(false)
  })
})
