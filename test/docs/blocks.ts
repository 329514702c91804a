/** A fenced code block of a document. */
export interface Block {
  readonly language: string
  readonly code: string
  /** Line of its fence, counted from 1. */
  readonly line: number
  /** What the comment above it says: `<!-- run: server -->`, `<!-- run: skip REASON -->`. Default `run`. */
  readonly how: 'run' | 'server' | 'skip'
  /** Why it is skipped. */
  readonly reason: string
}

const DIRECTIVE = /^<!-- run: (server|skip)(?: (.*\S))? -->$/

/** The fenced blocks of a Markdown document, in order. */
export function codeBlocks(markdown: string): Block[] {
  const blocks: Block[] = []
  const lines = markdown.split('\n')
  for (let index = 0; index < lines.length; index++) {
    const fence = /^(`{3,})(\w*)/.exec(lines[index] ?? '')
    if (fence === null) continue
    const end = lines.indexOf(fence[1] ?? '', index + 1)
    if (end < 0) throw new Error(`the block in line ${index + 1} has no end`)
    blocks.push({
      language: fence[2] ?? '',
      code: `${lines.slice(index + 1, end).join('\n')}\n`,
      line: index + 1,
      ...directive(lines.slice(0, index)),
    })
    index = end
  }
  return blocks
}

/** The comment right above a block, or with one empty line between. */
function directive(above: readonly string[]): Pick<Block, 'how' | 'reason'> {
  const text = above.at(-1) === '' ? above.at(-2) : above.at(-1)
  if (text === undefined || !text.startsWith('<!-- run:')) return { how: 'run', reason: '' }
  const [, how, reason = ''] = DIRECTIVE.exec(text) ?? []
  if ((how !== 'server' && how !== 'skip') || (how === 'skip') !== (reason !== '')) {
    throw new Error(`neither <!-- run: server --> nor <!-- run: skip REASON -->: ${text}`)
  }
  return { how, reason }
}

/** What is wrong with a block of npm commands, which are too slow to run here: scripts that package.json does not have. */
export function npmProblems(code: string, manifest: { name: string; scripts: Record<string, string> }): string[] {
  return npmCommands(code).flatMap((command) => {
    const [, verb = '', name = ''] = command.split(/\s+/)
    const script = verb === 'run' ? name : verb
    if (['ci', 'pack'].includes(verb)) return []
    if (verb === 'install') return name === '' || name === manifest.name ? [] : [`installs another package: ${command}`]
    return Object.hasOwn(manifest.scripts, script) ? [] : [`package.json has no script for: ${command}`]
  })
}

/** Whether a block has npm commands that install or run the scripts of the repository. */
export function isNpmBlock(code: string): boolean {
  return npmCommands(code).length > 0
}

function npmCommands(code: string): string[] {
  return code
    .replaceAll(/(?:^|\s)#.*$/gm, '')
    .split(/\n|&&|;/)
    .map((command) => command.trim())
    .filter((command) => command.startsWith('npm '))
}
