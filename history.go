package pond

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pondsocket/pond/internal/pattern"
	"github.com/pondsocket/pond/internal/transport"
)

// A History sets how many messages the channels of a lobby keep, for clients that
// reconnect and for newcomers. A channel drops its oldest messages when one of the
// limits is reached. The zero value of a field means its default.
//
// A channel keeps broadcasts to all members and those to all except some. It does not
// keep replies, messages to named users, and presence. See [JoinContext.Recovery] for
// the requests of clients.
type History struct {
	// Messages is the maximum number of messages that a channel keeps. The default is
	// 1,000.
	Messages int

	// Age is the time for which a channel keeps a message, and for which the channel
	// exists after its last member left. The default is one hour.
	Age time.Duration

	// Bytes is the maximum size of all messages that a channel keeps, encoded as they are
	// sent. The default is 1 MiB.
	Bytes int

	// Newcomers is the maximum number of latest messages that a client gets when it joins
	// for the first time. The default is 0. It is not access control: a client that may
	// join can pretend to reconnect from any position, and gets the messages after it. See
	// Replay.
	Newcomers int

	// Replay is the maximum number of missed messages that a client gets when it
	// reconnects. A client that missed more gets none, and must load its state again. So
	// no client receives more than the latest Replay or Newcomers messages. The default is
	// all messages that the channel keeps.
	Replay int
}

// withDefaults returns h with defaults instead of zeros. It panics if a value is
// invalid.
func (h History) withDefaults() History {
	if h.Messages < 0 || h.Age < 0 || h.Bytes < 0 || h.Newcomers < 0 || h.Replay < 0 {
		panic(fmt.Sprintf("pond: WithHistory(%+v): must not be negative", h)) //nolint:forbidigo // misuse at registration
	}
	setDefault(&h.Messages, 1000)
	setDefault(&h.Age, time.Hour)
	setDefault(&h.Bytes, 1<<20)
	setDefault(&h.Replay, math.MaxInt)
	return h
}

func setDefault[N int | time.Duration](n *N, value N) {
	if *n == 0 {
		*n = value
	}
}

// WithHistory makes the channels of a lobby keep their latest messages. Clients that
// lost their connection can get the messages that they missed, and a channel exists for
// [History.Age] after its last member left. An empty History means the defaults.
// WithHistory panics if a value is negative. The default is no history.
func WithHistory(h History) LobbyOption {
	h = h.withDefaults()
	return func(c *lobbyConfig) { c.history = &h }
}

// A Position is a position in the history of a channel, after the message with this offset.
// Offsets increase, but not necessarily by one. They start again in each epoch, and positions
// of different epochs cannot be compared. The zero Position is before the first message.
type Position struct {
	Epoch  string `json:"epoch"`
	Offset uint64 `json:"offset"`
}

// A HistoryStart selects the first message of [Endpoint.History]; see [Last] and
// [After]. The zero HistoryStart selects all messages that the channel keeps.
type HistoryStart struct {
	position Position
	last     int
	counted  bool // last counts
}

// Last selects the last n messages, or all messages if the channel keeps fewer.
func Last(n int) HistoryStart { return HistoryStart{last: max(0, n), counted: true} }

// After selects the messages after a position, or all messages that the channel keeps if
// the position is zero.
func After(p Position) HistoryStart { return HistoryStart{position: p} }

// A HistoryEntry is one message in the history of a channel.
type HistoryEntry struct {
	Position  Position        `json:"position"`
	Time      time.Time       `json:"time"` // when the message was sent
	Event     string          `json:"event"`
	RequestID string          `json:"requestId"`
	Payload   json.RawMessage `json:"payload"` // a JSON object
}

// ErrPositionLost means that a channel does not keep all messages after a position:
// they expired, or the position belongs to another epoch.
var ErrPositionLost = known(http.StatusGone, "the history does not contain all messages after this position")

// Publish sends an event to all members of a channel, like [Channel.Broadcast], but
// finds the channel by name and does not need a member. In a lobby with history, the
// message is kept, and a client that joins later can ask for it; in other lobbies, only
// members receive it. Publish returns when the message is stored. It returns the errors
// of [Audience.Broadcast], [ErrClosed] after [Pond.Shutdown], ctx's error, or an
// [*Error] with [http.StatusNotFound] if no lobby matches the name, or with
// [http.StatusBadRequest] if the name is invalid.
func (e *Endpoint) Publish(ctx context.Context, channel, event string, payload any) error {
	l, params, err := e.route(channel)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if e.pond.node != nil {
		return e.publish(ctx, l, channel, params, event, payload)
	}
	if l.cfg.history == nil {
		ch := e.registry.find(channel)
		if ch == nil {
			return nil // it has no members
		}
		if err := ch.Broadcast(event, payload); !errors.Is(err, ErrClosed) {
			return err
		}
		return nil // its last member just left
	}
	for !e.isClosing() {
		ch := e.registry.acquire(l, channel, params)
		err := ch.Broadcast(event, payload)
		e.registry.release(ch)
		if !errors.Is(err, ErrClosed) {
			return err
		}
		// The channel was just closed: continue with the next one of this name.
	}
	return ErrClosed
}

// route returns the lobby of a channel name.
func (e *Endpoint) route(channel string) (*Lobby, pattern.Params, error) {
	if !e.validName(channel) {
		return nil, nil, refuse(http.StatusBadRequest, "invalid channel name")
	}
	l, params := e.lobby(channel)
	if l == nil {
		return nil, nil, refuse(http.StatusNotFound, "channel not found")
	}
	return l, params, nil
}

// History returns the history of a channel, oldest first, up to the latest message when
// the iteration starts. It is empty if the channel has none.
//
// An error ends the iteration: [ErrPositionLost] if messages after the start are not
// kept any more, ctx's error, or an error of [Endpoint.Publish] about the name.
func (e *Endpoint) History(ctx context.Context, channel string, from HistoryStart) iter.Seq2[HistoryEntry, error] {
	return func(yield func(HistoryEntry, error) bool) {
		l, _, err := e.route(channel)
		if err != nil {
			yield(HistoryEntry{}, err)
			return
		}
		if n := e.pond.node; n != nil && n.log != nil && l.cfg.history != nil {
			e.remoteHistory(ctx, channel, from)(yield)
			return
		}
		ch := e.registry.find(channel)
		var at Position
		var end uint64
		if err = ErrClosed; ch != nil && ch.log != nil {
			at, end, err = ch.historyStart(from)
		}
		if errors.Is(err, ErrClosed) { // no such channel, or it was closed just now
			if from.position != (Position{}) {
				yield(HistoryEntry{}, ErrPositionLost)
			}
			return
		}
		for err == nil && at.Offset < end {
			if err = ctx.Err(); err != nil {
				break
			}
			var page []logEntry
			if page, err = ch.historyPage(at); err != nil || len(page) == 0 {
				break
			}
			for i := range page {
				if at.Offset = page[i].offset; at.Offset > end || !yield(page[i].public(at.Epoch), nil) {
					return
				}
			}
		}
		if err != nil {
			yield(HistoryEntry{}, err)
		}
	}
}

// historyStart returns the position where an iteration starts, and the offset where it
// ends. It drops messages that expired.
func (ch *Channel) historyStart(from HistoryStart) (start Position, end uint64, err error) {
	err = ch.commit(func(*tx) error {
		log := ch.log
		log.trim(now())
		start, end = from.position, log.top
		if from.position == (Position{}) {
			last := math.MaxInt
			if from.counted {
				last = from.last
			}
			start = Position{log.epoch, log.lastStart(last)}
		} else if from.position.Epoch != log.epoch || from.position.Offset > log.top {
			return ErrPositionLost
		}
		return nil
	})
	return start, end, err
}

// historyPage returns a copy of the first entries after a position.
func (ch *Channel) historyPage(after Position) ([]logEntry, error) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	entries, complete := ch.log.after(after.Offset)
	if !complete {
		return nil, ErrPositionLost
	}
	return slices.Clone(entries[:min(len(entries), pageFrames)]), nil
}

// public returns the entry for the application.
func (e *logEntry) public(epoch string) HistoryEntry {
	var m struct {
		RequestID string          `json:"requestId"`
		Payload   json.RawMessage `json:"payload"`
	}
	_ = json.Unmarshal(e.text[bytes.IndexByte(e.text, '{'):], &m) // we encoded it
	return HistoryEntry{
		Position: Position{epoch, e.offset}, Time: time.Unix(0, e.at),
		Event: e.event, RequestID: m.RequestID, Payload: m.Payload,
	}
}

// A messageLog keeps the numbered messages of one channel, oldest first. The channel's
// mu guards it.
type messageLog struct {
	limits *History
	budget *historyBudget

	epoch   string
	top     uint64     // the latest used offset
	lost    uint64     // the latest dropped offset, or 0
	entries []logEntry // entries[:first] were dropped
	first   int
	bytes   int // of entries[first:]
}

// A logEntry is one kept message.
type logEntry struct {
	offset uint64
	at     int64 // when it was committed, in nanoseconds since 1970
	event  string
	text   []byte    // the message as a WebSocket frame
	extra  *logExtra // nil if it would be empty
}

// logExtra contains the data of a message that is not in its text.
type logExtra struct {
	except  []string  // the users that must not receive it
	handler *outgoing // for the handler for outgoing events
	size    int       // in memory
}

func newLogExtra(except []string, handler *outgoing) *logExtra {
	x := &logExtra{except, handler, extraCost}
	for _, id := range except { // which may come from a client
		x.size += len(id) + idCost
	}
	if handler != nil {
		x.size += len(handler.request) + outgoingCost
	}
	return x
}

// The memory of an entry in addition to its text.
const (
	entryCost    = 72
	extraCost    = 48  // of a logExtra, rounded up
	idCost       = 16  // of an ID, besides its bytes
	outgoingCost = 256 // of an outgoing, which shares the payload with the text
)

func (e *logEntry) size() int {
	size := len(e.text) + entryCost
	if x := e.extra; x != nil {
		size += x.size
	}
	return size
}

// hiddenFrom reports whether one of these users must not receive the message.
func (e *logEntry) hiddenFrom(ids ...string) bool {
	if e.extra == nil {
		return false
	}
	return slices.ContainsFunc(ids, func(id string) bool { return id != "" && slices.Contains(e.extra.except, id) })
}

// frame returns the frame to send the message again.
func (e *logEntry) frame(epoch string) (f *transport.Frame, handled bool) {
	f = transport.ReuseFrame(e.event, e.text)
	f.Number(epoch, e.offset)
	if e.extra != nil && e.extra.handler != nil {
		f.Meta = e.extra.handler
		return f, true
	}
	return f, false
}

// newEpoch returns the name of a new log: 22 characters of base64url.
func newEpoch() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// position returns the position of the latest message.
func (l *messageLog) position() Position { return Position{l.epoch, l.top} }

// publish gives a message a number, which is larger than all before, and stores it. The
// users in except must not receive it.
func (l *messageLog) publish(d *draft, except []string, offset uint64, at int64) *transport.Frame {
	l.top = offset
	f := d.number(l.epoch, offset)
	e := logEntry{offset: offset, at: at, event: d.event, text: f.Text()}
	if len(except) > 0 || d.meta != nil {
		e.extra = newLogExtra(except, d.meta)
	}
	l.append(e)
	return f
}

// append keeps a message, and drops old ones if limits are reached. It always keeps the
// latest message, so that a broadcast is not lost for members that are catching up.
func (l *messageLog) append(e logEntry) {
	if n := len(l.entries); n == cap(l.entries) { // most logs have few entries: grow by little
		l.entries = append(make([]logEntry, 0, n+n/4+4), l.entries...)
	}
	l.entries = append(l.entries, e)
	l.bytes += e.size()
	l.budget.used.Add(int64(e.size()))
	l.trim(e.at)
	for l.budget.exceededWith(0) && len(l.kept()) > 1 {
		l.drop(1)
	}
}

// trim drops the messages that exceed the limits of the log.
func (l *messageLog) trim(now int64) {
	kept, size, n := l.kept(), l.bytes, 0
	oldest := now - int64(l.limits.Age)
	for n < len(kept)-1 && (len(kept)-n > l.limits.Messages || size > l.limits.Bytes) {
		size -= kept[n].size()
		n++
	}
	for n < len(kept) && kept[n].at < oldest {
		n++
	}
	l.drop(n)
}

// drop drops the oldest n messages.
func (l *messageLog) drop(n int) {
	if n == 0 {
		return
	}
	freed, lost := 0, l.kept()[n-1].offset
	for i := l.first; i < l.first+n; i++ {
		freed += l.entries[i].size()
		l.entries[i] = logEntry{}
	}
	l.first += n
	l.lost = lost
	l.bytes -= freed
	l.budget.used.Add(-int64(freed))
	if kept := l.kept(); l.first > len(kept) {
		l.entries, l.first = append(make([]logEntry, 0, len(kept)+len(kept)/4+1), kept...), 0
	}
}

// kept returns the messages, oldest first. The result is valid until the log changes.
func (l *messageLog) kept() []logEntry { return l.entries[l.first:] }

// after returns the messages after an offset, and whether all messages after it are
// still kept.
func (l *messageLog) after(offset uint64) (entries []logEntry, complete bool) {
	kept := l.kept()
	i, _ := slices.BinarySearchFunc(kept, offset+1, func(e logEntry, target uint64) int {
		switch {
		case e.offset < target:
			return -1
		case e.offset > target:
			return 1
		}
		return 0
	})
	return kept[i:], offset >= l.lost
}

// lastStart returns the offset after which the last n messages follow.
func (l *messageLog) lastStart(n int) uint64 {
	kept := l.kept()
	switch {
	case n == 0:
		return l.top
	case n >= len(kept):
		return l.lost
	}
	return kept[len(kept)-n-1].offset
}

// A historyBudget is the memory that all channels of an endpoint share for their
// histories.
type historyBudget struct {
	limit int64
	used  atomic.Int64
}

// exceededWith reports whether size more bytes would exceed the budget.
func (b *historyBudget) exceededWith(size int) bool { return b.used.Load()+int64(size) > b.limit }

// now returns the time in the form that logs use.
func now() int64 { return time.Now().UnixNano() }
