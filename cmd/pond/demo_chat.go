package main

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/pondsocket/pond"
)

// A Message is a message in a room. The client chooses the ID and sends it with the
// Text; the server adds the other fields.
type Message struct {
	ID   string `json:"id"`
	Text string `json:"text"`
	From string `json:"from"` // user id
	Name string `json:"name"`
	At   int64  `json:"at"` // milliseconds since 1970
}

// A Person is the presence of a member.
type Person struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Typing bool   `json:"typing"`
}

// A Room is an entry in the list of rooms.
type Room struct {
	Name   string `json:"name"`
	People int    `json:"people"`
}

type (
	// Profile is sent by a client that joins a room or changes its name.
	Profile struct {
		Name string `json:"name"`
	}
	// Typing is sent by a client that starts or stops typing.
	Typing struct {
		Typing bool `json:"typing"`
	}
	// Latest contains the latest messages of a room, oldest first.
	Latest struct {
		Messages []Message `json:"messages"`
	}
	// RoomList contains the rooms that have members.
	RoomList struct {
		Rooms []Room `json:"rooms"`
	}
)

// The events of the chat, and the types of their payloads.
const (
	said    pond.Event[Message]  = "message"
	renamed pond.Event[Profile]  = "rename"
	typing  pond.Event[Typing]   = "typing"
	latest  pond.Event[Latest]   = "latest"
	listed  pond.Event[RoomList] = "rooms"
)

// These limits are also in the page, in demo/identity.js.
const (
	maxText  = 2000 // characters
	maxName  = 32
	maxRooms = 100 // in the list
)

// roomHistory limits the messages that rooms keep. Members that reconnect receive
// the messages that they missed.
var roomHistory = pond.History{Messages: 500, Newcomers: shownMessages}

// shownMessages is the number of messages that a page asks for when it opens a room. It
// is also in demo/app.js.
const shownMessages = 50

const roomList = "/rooms" // the channel that broadcasts the list of rooms

// A chat holds the rooms of an endpoint and the list of rooms.
type chat struct {
	endpoint *pond.Endpoint

	listing sync.Mutex // held while the list is made and sent, so that the last list sent is the newest
}

// openChat adds the chat to an endpoint.
func openChat(e *pond.Endpoint) {
	c := &chat{endpoint: e}
	e.Lobby(roomList, c.joinList)

	rooms := e.Lobby("/chat/:room", c.join, pond.WithHistory(roomHistory))
	pond.On(rooms, said, c.say)
	pond.On(rooms, renamed, c.rename)
	pond.On(rooms, typing, c.typing)
	rooms.OnMessage(string(latest), c.latest)
	rooms.OnLeave(c.leave)
}

// accept accepts every client.
func accept(ctx *pond.ConnectionContext) error { return ctx.Accept() }

func (c *chat) joinList(ctx *pond.JoinContext) error {
	c.listing.Lock()
	defer c.listing.Unlock()
	if err := ctx.Accept(); err != nil {
		return err
	}
	return ctx.Reply(listed.With(c.list()))
}

func (c *chat) join(ctx *pond.JoinContext) error {
	var profile Profile
	if err := ctx.Bind(&profile); err != nil {
		return err
	}
	name, err := checkName(profile.Name)
	if err != nil {
		return err
	}
	if err := checkRoom(ctx.Channel()); err != nil {
		return err
	}

	if err := ctx.Accept(); err != nil {
		return err
	}
	ctx.Assign("name", name)
	if err := ctx.Track(Person{ID: ctx.User().ID, Name: name}); err != nil {
		return err
	}
	return c.announce()
}

func (c *chat) leave(*pond.LeaveContext) error { return c.announce() }

func (c *chat) say(ctx *pond.EventContext, m Message) error {
	text := strings.TrimSpace(m.Text)
	if n := utf8.RuneCountInString(text); n < 1 || n > maxText {
		return pond.Errorf(http.StatusBadRequest, "a message must have 1 to %d characters", maxText)
	}
	if n := len(m.ID); n < 1 || n > 64 {
		return pond.Errorf(http.StatusBadRequest, "the id of a message must have 1 to 64 bytes")
	}
	m = Message{ID: m.ID, Text: text, From: ctx.User().ID, Name: nameOf(ctx), At: time.Now().UnixMilli()}

	// A client that lost its connection before it received its own message sends the
	// message again, with the same ID. The other members already have it.
	if old, ok := c.find(ctx, m.ID); ok {
		return ctx.Reply(said.With(old))
	}
	return ctx.Broadcast(said.With(m))
}

// find returns the message with an ID, if it is one of the latest.
func (c *chat) find(ctx *pond.EventContext, id string) (Message, bool) {
	messages := c.messages(ctx)
	i := slices.IndexFunc(messages, func(m Message) bool { return m.ID == id })
	if i < 0 {
		return Message{}, false
	}
	return messages[i], true
}

// latest answers a page that cannot recover the messages of a room, for example
// because the server restarted.
func (c *chat) latest(ctx *pond.EventContext) error {
	return ctx.Reply(latest.With(Latest{c.messages(ctx)}))
}

// messages returns the latest messages of a room, oldest first.
func (c *chat) messages(ctx *pond.EventContext) []Message {
	messages := []Message{} // encoded as an empty list, not as null
	for entry, err := range c.endpoint.History(ctx, ctx.Channel().Name(), pond.Last(shownMessages)) {
		var m Message
		if err == nil && json.Unmarshal(entry.Payload, &m) == nil {
			messages = append(messages, m)
		}
	}
	return messages
}

func (c *chat) rename(ctx *pond.EventContext, profile Profile) error {
	name, err := checkName(profile.Name)
	if err != nil {
		return err
	}
	if err := ctx.Assign("name", name); err != nil {
		return err
	}
	if err := ctx.Update(Person{ID: ctx.User().ID, Name: name}); err != nil {
		return err
	}
	return ctx.Reply(renamed.With(Profile{name}))
}

func (c *chat) typing(ctx *pond.EventContext, t Typing) error {
	return ctx.Update(Person{ID: ctx.User().ID, Name: nameOf(ctx), Typing: t.Typing})
}

// announce broadcasts the list of rooms.
func (c *chat) announce() error {
	c.listing.Lock()
	defer c.listing.Unlock()
	ch, ok := c.endpoint.Channel(roomList)
	if !ok {
		return nil // no client shows the list
	}
	return ch.Broadcast(listed.With(c.list()))
}

// list returns the rooms that have members, those with the most members first.
func (c *chat) list() RoomList {
	list := RoomList{Rooms: []Room{}}
	for ch := range c.endpoint.Channels() {
		if room := ch.Param("room"); room != "" && ch.Len() > 0 {
			list.Rooms = append(list.Rooms, Room{Name: room, People: ch.Len()})
		}
	}
	slices.SortFunc(list.Rooms, func(a, b Room) int {
		return cmp.Or(cmp.Compare(b.People, a.People), cmp.Compare(a.Name, b.Name))
	})
	list.Rooms = list.Rooms[:min(len(list.Rooms), maxRooms)]
	return list
}

func nameOf(ctx *pond.EventContext) string {
	name, _ := ctx.Get("name").(string)
	return name
}

func checkName(name string) (string, error) {
	name = strings.Join(strings.Fields(name), " ")
	if n := utf8.RuneCountInString(name); n < 1 || n > maxName {
		return "", pond.Errorf(http.StatusBadRequest, "a name must have 1 to %d characters", maxName)
	}
	if strings.ContainsFunc(name, invisible) {
		return "", pond.Errorf(http.StatusBadRequest, "a name must consist of visible characters")
	}
	return name, nil
}

// invisible reports whether r is invisible, so that two different names could look the
// same. The zero-width joiner is allowed, because emoji need it.
func invisible(r rune) bool {
	const joiner = '\u200d'
	return !unicode.IsPrint(r) && r != joiner
}

func checkRoom(ch *pond.Channel) error {
	room := ch.Param("room")
	odd := func(r rune) bool { return !unicode.In(r, unicode.L, unicode.M, unicode.Nd) && r != '-' && r != '_' }
	// Reject other spellings of a name: "/chat/%61" would be another channel than
	// "/chat/a".
	if room == "" || utf8.RuneCountInString(room) > maxName || strings.ContainsFunc(room, odd) || ch.Name() != "/chat/"+room {
		return pond.Errorf(http.StatusBadRequest, "the name of a room must have 1 to %d letters, digits, hyphens or underscores", maxName)
	}
	return nil
}
