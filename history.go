package pond

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/pondsocket/pond/internal/pattern"
)

// A History sets how many messages the channels of a lobby keep, for clients that
// reconnect and for newcomers. A channel drops its oldest messages as soon as one
// of the limits is reached. Zero stands for the default of a field.
//
// Kept are broadcasts to all members, and to all but some. Replies, messages to
// named users and presence are not kept. See [JoinContext.Recovery] for what
// clients can ask for.
type History struct {
	// Messages is the largest number of messages that a channel keeps. The default
	// is 1,000.
	Messages int

	// Age is how long a channel keeps a message, and how long it exists after its
	// last member left. The default is one hour.
	Age time.Duration

	// Bytes is the largest size of the messages that a channel keeps, encoded as
	// they are sent. The default is 1 MiB.
	Bytes int

	// Newcomers is how many of the latest messages a client may ask for that was
	// not there when they were sent. The default is 0: only clients that were
	// members before see older messages.
	Newcomers int

	// Replay is how many messages a client that reconnects may have missed. A
	// client that missed more has to load its state anew. The default is all that
	// the channel keeps.
	Replay int
}

// withDefaults returns h with defaults in place of zeros. It panics if a value is
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

// WithHistory makes the channels of a lobby keep their latest messages. Clients
// that lost their connection can get what they missed, and a channel exists for
// [History.Age] after its last member left. An empty History stands for the
// defaults. WithHistory panics if a value is negative. The default is no history.
func WithHistory(h History) LobbyOption {
	h = h.withDefaults()
	return func(c *lobbyConfig) { c.history = &h }
}

// WithHistoryLimit limits the memory for the histories of all channels in bytes.
// When it is reached, channels without members are removed, those that expire
// first before the others, and then channels drop their oldest messages as they
// get new ones. The default is 256 MiB.
func WithHistoryLimit(bytes int) EndpointOption {
	positive("WithHistoryLimit", bytes)
	return func(c *endpointConfig) { c.historyBytes = int64(bytes) }
}

// A Position is a place in the history of a channel: behind the message with this
// offset. Offsets increase, not necessarily by one. They start anew in another
// epoch, and positions of different epochs cannot be compared.
type Position struct {
	Epoch  string
	Offset uint64
}

// A HistoryStart says where [Endpoint.History] begins; see [Last] and [After].
type HistoryStart struct {
	position Position
	last     int
}

// Last begins with the last n messages, or with the first message if the channel
// keeps fewer.
func Last(n int) HistoryStart { return HistoryStart{last: max(0, n)} }

// After begins with the first message behind a position.
func After(p Position) HistoryStart { return HistoryStart{position: p} }

// A HistoryEntry is one message in the history of a channel.
type HistoryEntry struct {
	Position  Position
	Time      time.Time // when the message was sent
	Event     string
	RequestID string
	Payload   json.RawMessage // a JSON object
}

// ErrPositionLost means that a channel has no history behind a position: the
// messages expired, or the position belongs to another epoch.
var ErrPositionLost = known(http.StatusGone, "the history does not reach back to this position")

// Publish sends an event to all members of a channel, like [Channel.Broadcast], but
// finds the channel by name and does not need a member. In a lobby with history the
// message is kept, and a client that joins later may ask for it; in other lobbies
// only members receive it. Publish returns when the message is stored. Its errors
// are those of [Audience.Broadcast]; [ErrClosed] after [Pond.Shutdown], ctx's error,
// and an [*Error] with [http.StatusNotFound] if no lobby matches the name or with
// [http.StatusBadRequest] if the name is invalid.
func (e *Endpoint) Publish(ctx context.Context, channel, event string, payload any) error {
	l, params, err := e.route(channel)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if l.cfg.history == nil {
		ch := e.registry.find(channel)
		if ch == nil {
			return nil // it has no members
		}
		if err := ch.Broadcast(event, payload); !errors.Is(err, ErrClosed) {
			return err
		}
		return nil // its last member left just now
	}
	for !e.isClosing() {
		ch := e.registry.acquire(l, channel, params)
		err := ch.Broadcast(event, payload)
		e.registry.release(ch)
		if !errors.Is(err, ErrClosed) {
			return err
		}
		// The channel was closed just now: the next one has its name.
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

// History returns the history of a channel, oldest first, up to the message that is
// the latest when the iteration begins. It is empty if the channel has none.
//
// An error ends the iteration: [ErrPositionLost] if messages behind the start are
// not kept, or not any more, ctx's error, or one of those that [Endpoint.Publish]
// has for the name.
func (e *Endpoint) History(ctx context.Context, channel string, from HistoryStart) iter.Seq2[HistoryEntry, error] {
	return func(yield func(HistoryEntry, error) bool) {
		if _, _, err := e.route(channel); err != nil {
			yield(HistoryEntry{}, err)
			return
		}
		ch := e.registry.find(channel)
		if ch == nil || ch.log == nil {
			if from.position != (Position{}) {
				yield(HistoryEntry{}, ErrPositionLost)
			}
			return
		}
		at, end, err := ch.historyStart(from)
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

// historyStart returns the position where an iteration begins, and the offset where
// it ends.
func (ch *Channel) historyStart(from HistoryStart) (start Position, end uint64, err error) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	log := ch.log
	log.trim(now())
	if from.position == (Position{}) {
		return Position{log.epoch, log.lastStart(from.last)}, log.top, nil
	}
	if from.position.Epoch != log.epoch || from.position.Offset > log.top {
		return Position{}, 0, ErrPositionLost
	}
	return from.position, log.top, nil
}

// historyPage returns a copy of the first entries behind a position.
func (ch *Channel) historyPage(after Position) ([]logEntry, error) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	entries, complete := ch.log.after(after.Offset)
	if !complete {
		return nil, ErrPositionLost
	}
	return slices.Clone(entries[:min(len(entries), pageFrames)]), nil
}

// public returns the entry as the application sees it.
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
