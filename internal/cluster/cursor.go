package cluster

// A Position is a place in a log.
type Position struct {
	Epoch  string
	Offset uint64
}

// A Verdict says how to handle an entry of a log.
type Verdict uint8

// The verdicts.
const (
	Deliver  Verdict = iota // it is the next entry
	Known                   // it was delivered before
	Behind                  // entries before it are missing: read the log
	NewEpoch                // it belongs to another log: start from its beginning
)

// A Cursor is how far a node has read a log. The zero Cursor has read nothing of any log.
type Cursor struct {
	at Position // after the last delivered entry
}

// At returns the position of the cursor.
func (c *Cursor) At() Position { return c.at }

// Set moves the cursor.
func (c *Cursor) Set(p Position) { c.at = p }

// Judge returns how to handle an entry that follows the one at offset prev.
func (c *Cursor) Judge(p Position, prev uint64) Verdict {
	switch {
	case p.Epoch != c.at.Epoch:
		return NewEpoch
	case p.Offset <= c.at.Offset:
		return Known
	case prev != c.at.Offset:
		return Behind
	}
	return Deliver
}

// IsBehind reports whether there are entries up to p that the cursor has not read.
func (c *Cursor) IsBehind(p Position) bool {
	return p != Position{} && (p.Epoch != c.at.Epoch || p.Offset > c.at.Offset)
}
