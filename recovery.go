package pond

import (
	"context"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/pondsocket/pond/internal/clusterwire"
	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/wire"
	"github.com/pondsocket/pond/internal/ws"
)

// A Recovery is a client's request for earlier messages when it joins a channel with
// history.
type Recovery struct {
	// Position is the last position of the client before it lost its connection. It is
	// zero if the client is a newcomer.
	Position Position

	// UserID is the user ID that the client had then, according to the client. Messages
	// that were not for this user are omitted.
	UserID string

	// Last is the number of latest messages that a newcomer requests.
	Last int
}

// A feedState is the state of a member that is catching up. The channel's mu guards it.
//
// A member of a channel with history is either seated or feeding. A seated member is in
// the channel's group: every message after its start was queued for it. A feeding member
// is not in the group: exactly the messages after its start up to its cursor were queued
// for it, and it reads the rest from the log at the pace of its socket. Frames that are
// not in the log are held until their position is reached.
type feedState struct {
	cursor   uint64 // all messages up to this offset were queued
	to       uint64 // end of the replay, as announced to the client
	notified bool   // the client was notified that the replay is complete
	former   string // the user ID that the client had before
	held     []heldFrame
	bytes    int // of held
}

// A heldFrame is a frame for a member that is feeding.
type heldFrame struct {
	top     uint64 // of the log when the frame was committed
	frame   *transport.Frame
	handled bool
}

// A page limits the bytes that are queued for a member at a time. It is less if the
// outbox is smaller.
const (
	pageFrames = 64
	pageBytes  = 64 << 10
)

// A GapReason says why a client does not receive the messages that it missed.
type GapReason string

// The reasons of gaps.
const (
	GapEpoch       GapReason = "epoch"       // the history started again, or never had the position
	GapExpired     GapReason = "expired"     // the history does not contain the messages any more
	GapLimit       GapReason = "limit"       // more messages than [History] or the join handler allows
	GapUnavailable GapReason = "unavailable" // the history cannot be read at present
)

// resume returns the offset after which a client that requests r gets messages, or the
// reason why it gets none.
func (l *messageLog) resume(r *Recovery, limit int) (start uint64, reason GapReason) {
	l.trim(now())
	if r.Position == (Position{}) {
		return l.newcomerStart(r.Last, limit), ""
	}
	if r.Position.Epoch != l.epoch || r.Position.Offset > l.top {
		return l.top, GapEpoch
	}
	missed, complete := l.after(r.Position.Offset)
	switch {
	case !complete:
		return l.top, GapExpired
	case len(missed) > min(l.limits.Replay, limit):
		return l.top, GapLimit
	}
	return r.Position.Offset, ""
}

// admit acknowledges a new member of a channel with history, and sends it the messages
// that it missed.
func (tx *tx) admit(m *member, request string, recovery *Recovery, limit int) (reason GapReason) {
	log := tx.ch.log
	start, replay := log.top, false
	switch {
	case recovery == nil:
	case m.stale:
		reason = GapUnavailable
	default:
		start, reason = log.resume(recovery, limit)
	}
	if recovery != nil {
		replay = reason == ""
		if !replay && recovery.Last > 0 { // the client starts again, as a newcomer does
			start, replay = log.newcomerStart(recovery.Last, limit), true
		}
	}
	var body []byte
	if m.recovers {
		body = appendPosition(nil, Position{log.epoch, start})
		if replay {
			body = strconv.AppendUint(append(body, `,"to":`...), log.top, 10)
		}
		if recovery != nil {
			body = strconv.AppendBool(append(body, `,"recovered":`...), reason == "")
		}
		if reason != "" {
			body = append(append(append(body, `,"reason":"`...), reason...), '"')
		}
	}
	tx.send(m, tx.numberedNotice(wire.Acknowledge, request, m.acknowledged(body), start), false)
	if !replay {
		tx.seat(m)
		return reason
	}
	m.feeding = &feedState{cursor: start, to: log.top, former: recovery.UserID}
	tx.ch.feeding = append(tx.ch.feeding, m)
	tx.feed(m)
	return reason
}

// newcomerStart returns the offset after which a client that asks for the last n
// messages starts.
func (l *messageLog) newcomerStart(n, limit int) uint64 {
	return l.lastStart(min(n, l.limits.Newcomers, limit))
}

// appendPosition appends the members of a position.
func appendPosition(dst []byte, p Position) []byte {
	dst = append(dst, `"epoch":"`...)
	dst = append(dst, p.Epoch...)
	dst = append(dst, `","offset":`...)
	return strconv.AppendUint(dst, p.Offset, 10)
}

// positionBody returns a position as a payload. The reason is omitted if it is empty.
func positionBody(p Position, reason GapReason) []byte {
	body := appendPosition([]byte{'{'}, p)
	if reason != "" {
		body = append(append(append(body, `,"reason":"`...), reason...), '"')
	}
	return append(body, '}')
}

// numberedNotice encodes a notice of the server that moves the position of its receiver
// to offset.
func (tx *tx) numberedNotice(event, request string, body []byte, offset uint64) *transport.Frame {
	f := newFrame(wire.System, event, tx.ch.name, request, body)
	f.Number(tx.ch.log.epoch, offset)
	return f
}

// feed queues the next page for a member that is feeding. It continues when the client
// received half of the page. With the last page, the member gets its seat.
func (m *member) feed() {
	_ = m.commit(func(tx *tx) error { // the member left
		if m.feeding != nil {
			tx.feed(m)
		}
		return nil
	})
}

func (tx *tx) feed(m *member) {
	log, c := tx.ch.log, m.feeding
	entries, complete := log.after(c.cursor)
	if !complete {
		tx.skipLost(m)
		entries, _ = log.after(c.cursor)
	}
	room := min(pageBytes, tx.ch.lobby.endpoint.cfg.outbox/2)
	for frames := 0; len(entries) > 0 || len(c.held) > 0; frames++ {
		if frames == pageFrames || room <= 0 {
			tx.queue(m, transport.NewMark(m.feed), false)
			return
		}
		tx.sendRecovered(m)
		if len(c.held) > 0 && (len(entries) == 0 || c.held[0].top < entries[0].offset) {
			room -= tx.release(m)
			continue
		}
		room -= tx.replay(m, &entries[0])
		entries = entries[1:]
	}
	c.cursor = log.top // which may be behind the last entry
	tx.sendRecovered(m)
	tx.stopFeeding(m)
	tx.seat(m)
}

// skipLost moves a member past the messages that the log dropped before the member
// received them, and sends it a GAP. Held frames that were committed between these
// messages follow the GAP: an acknowledgement among them must not move the client's
// position before the client knows of the loss.
func (tx *tx) skipLost(m *member) {
	log, c := tx.ch.log, m.feeding
	c.cursor = log.lost
	body := positionBody(Position{log.epoch, c.cursor}, GapExpired)
	tx.queue(m, tx.numberedNotice(wire.Gap, newRequestID(), body, c.cursor), false)
}

// replay queues a message of the log if it is for the member. It returns the number of
// queued bytes.
func (tx *tx) replay(m *member, e *logEntry) (size int) {
	before := m.feeding.cursor
	m.feeding.cursor = e.offset
	if e.hiddenFrom(m.conn.id, m.feeding.former) {
		tx.hide(m, before, e.offset)
		return 0
	}
	f, handled := e.frame(tx.ch.log.epoch)
	tx.queue(m, f, handled)
	return f.Charge()
}

// sendRecovered notifies a client, once, that it received the whole announced replay.
func (tx *tx) sendRecovered(m *member) {
	c := m.feeding
	if c.notified || c.cursor < c.to {
		return
	}
	c.notified = true
	at := max(c.to, c.cursor) // after a gap, if the rest of the replay was lost
	body := positionBody(Position{tx.ch.log.epoch, at}, "")
	tx.queue(m, tx.numberedNotice(wire.Recovered, newRequestID(), body, at), false)
}

// hold keeps a frame for a member that is feeding until all earlier messages were
// queued. If too many bytes are held for a member, it is disconnected like one that
// does not read.
func (tx *tx) hold(m *member, f *transport.Frame, handled bool) {
	c := m.feeding
	c.bytes += f.Charge()
	if c.bytes > tx.ch.lobby.endpoint.cfg.outbox {
		c.held = nil
		m.conn.tr.QueueClose(&tx.work, ws.CloseTryAgainLater, "too slow", transport.ErrSlow)
		return
	}
	c.held = append(c.held, heldFrame{tx.ch.log.top, f, handled})
}

// release queues the first held frame and returns the number of its bytes.
func (tx *tx) release(m *member) int {
	c := m.feeding
	h := c.held[0]
	c.held = slices.Delete(c.held, 0, 1)
	c.bytes -= h.frame.Charge()
	tx.queue(m, h.frame, h.handled)
	return h.frame.Charge()
}

// stopFeeding ends the feeding of a member that gets its seat or leaves.
func (tx *tx) stopFeeding(m *member) {
	m.feeding = nil
	i := slices.Index(tx.ch.feeding, m)
	tx.ch.feeding = slices.Delete(tx.ch.feeding, i, i+1)
}

// maxHidden is the number of consecutive hidden messages after which a client is sent
// its position.
const maxHidden = 64

// hide records that a numbered message is hidden from a member, whose position still
// moves. A client that asked for recovery gets its position from time to time, because
// an old position would expire. before is the offset of the message before it.
func (tx *tx) hide(m *member, before, offset uint64) {
	if !m.recovers {
		return
	}
	if m.hidden == 0 || m.hiddenTo != before {
		m.hidden = 0
	}
	m.hidden++
	m.hiddenTo = offset
	if m.hidden == maxHidden {
		m.hidden = 0
		tx.queue(m, tx.ch.positionNotice(Position{tx.ch.log.epoch, offset}), false)
	}
}

// positionNotice encodes a message that only moves a client's position.
func (ch *Channel) positionNotice(p Position) *transport.Frame {
	f := ch.notice(wire.System, wire.PositionEvent, positionBody(p, ""))
	f.Number(p.Epoch, p.Offset)
	return f
}

// remoteHistory is [Endpoint.History] of a channel whose history the broker keeps.
func (e *Endpoint) remoteHistory(ctx context.Context, name string, from HistoryStart) iter.Seq2[HistoryEntry, error] {
	return func(yield func(HistoryEntry, error) bool) {
		n := e.pond.node
		endpoint := clusterwire.EndpointName(e.Path())
		topic := clusterwire.Topic(endpoint, name)
		page, err := n.firstPage(ctx, topic, from)
		top := page.Top
		for err == nil {
			for _, entry := range page.Entries {
				if entry.Pos.Offset > top.Offset {
					return
				}
				m, err := clusterwire.Decode(entry.Data, endpoint, name, clusterwire.DefaultLimits)
				if err != nil || m.Type != clusterwire.UserMessage {
					continue // of another channel
				}
				if !yield(HistoryEntry{
					Position: entry.Pos, Time: time.UnixMilli(m.Timestamp), Event: m.Event, RequestID: m.RequestID, Payload: m.Payload,
				}, nil) {
					return
				}
			}
			if len(page.Entries) == 0 || page.Entries[len(page.Entries)-1].Pos.Offset >= top.Offset {
				return
			}
			last := page.Entries[len(page.Entries)-1].Pos
			if page, err = n.log.Since(ctx, topic, last, logPage); err == nil && !page.Complete {
				err = ErrPositionLost
			}
		}
		yield(HistoryEntry{}, err)
	}
}

// firstPage returns the first entries of a part of a log.
func (n *node) firstPage(ctx context.Context, topic string, from HistoryStart) (Page, error) {
	switch {
	case from.position == (Position{}) && !from.counted:
		return n.log.Since(ctx, topic, Position{}, logPage)
	case from.position == (Position{}) && from.last == 0:
		return Page{}, nil
	case from.position == (Position{}):
		return n.log.Last(ctx, topic, from.last)
	}
	page, err := n.log.Since(ctx, topic, from.position, logPage)
	if err == nil && !page.Complete {
		err = ErrPositionLost
	}
	return page, err
}
