package main

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/pondsocket/pond"
)

// A Message is what somebody says in a room. A client sends its ID, which it
// makes up, and its Text; the chat adds the rest.
type Message struct {
	ID   string `json:"id"`
	Text string `json:"text"`
	From string `json:"from"` // user id
	Name string `json:"name"`
	At   int64  `json:"at"` // milliseconds since 1970
}

// A Person is what the others in a room see of a member: its presence.
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
	// Profile is what a client says of itself when it joins a room or takes
	// another name.
	Profile struct {
		Name string `json:"name"`
	}
	// Typing says whether a member is typing.
	Typing struct {
		Typing bool `json:"typing"`
	}
	// History is what was said in a room before its reader came. More means
	// that it does not reach back to the beginning.
	History struct {
		Messages []Message `json:"messages"`
		More     bool      `json:"more"`
	}
	// RoomList has the rooms where somebody is.
	RoomList struct {
		Rooms []Room `json:"rooms"`
	}
)

// The events of the chat, and the types of their payloads.
const (
	said    pond.Event[Message]  = "message"
	renamed pond.Event[Profile]  = "rename"
	typing  pond.Event[Typing]   = "typing"
	before  pond.Event[History]  = "history"
	listed  pond.Event[RoomList] = "rooms"
)

// The page knows these, too.
const (
	maxText  = 2000 // characters
	maxName  = 32
	maxRooms = 100 // in the list
)

const roomList = "/rooms" // the channel that has the list of rooms

// A chat is the rooms of an endpoint and a list of them.
type chat struct {
	endpoint *pond.Endpoint
	memory   memory

	listing sync.Mutex // held while the list is made and sent, so that the last one sent is the newest
}

// openChat adds the chat to an endpoint.
func openChat(e *pond.Endpoint) {
	c := &chat{endpoint: e}
	e.Lobby(roomList, c.joinList)

	rooms := e.Lobby("/chat/:room", c.join)
	pond.On(rooms, said, c.say)
	pond.On(rooms, renamed, c.rename)
	pond.On(rooms, typing, c.typing)
	rooms.OnLeave(c.leave)
}

// welcome lets everybody in.
func welcome(ctx *pond.ConnectionContext) error { return ctx.Accept() }

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
	// After Accept, so that nothing is said in between that the new member
	// does not get. What it gets twice, it knows by the ID.
	messages := c.memory.of(ctx.Channel().Name())
	if err := ctx.Reply(before.With(History{messages, len(messages) == rememberedMessages})); err != nil {
		return err
	}
	return c.announce()
}

func (c *chat) leave(*pond.LeaveContext) error { return c.announce() }

func (c *chat) say(ctx *pond.EventContext, m Message) error {
	text := strings.TrimSpace(m.Text)
	if n := utf8.RuneCountInString(text); n < 1 || n > maxText {
		return pond.Errorf(http.StatusBadRequest, "a message has 1 to %d characters", maxText)
	}
	if n := len(m.ID); n < 1 || n > 64 {
		return pond.Errorf(http.StatusBadRequest, "a message has an id of 1 to 64 bytes")
	}
	m = Message{ID: m.ID, Text: text, From: ctx.User().ID, Name: nameOf(ctx), At: time.Now().UnixMilli()}

	// A client whose connection broke before it heard from its message sends
	// it again, with the same ID. The others have it already.
	if old, ok := c.memory.add(ctx.Channel().Name(), m); ok {
		return ctx.Reply(said.With(old))
	}
	return ctx.Broadcast(said.With(m))
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

// announce tells everybody which rooms there are.
func (c *chat) announce() error {
	c.listing.Lock()
	defer c.listing.Unlock()
	ch, ok := c.endpoint.Channel(roomList)
	if !ok {
		return nil // nobody wants to know
	}
	return ch.Broadcast(listed.With(c.list()))
}

// list returns the rooms where somebody is, the fullest first.
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
		return "", pond.Errorf(http.StatusBadRequest, "a name has 1 to %d characters", maxName)
	}
	if strings.ContainsFunc(name, invisible) {
		return "", pond.Errorf(http.StatusBadRequest, "a name has visible characters only")
	}
	return name, nil
}

// invisible reports whether r would make a name look like another one. The
// joiner is what holds emoji together.
func invisible(r rune) bool {
	const joiner = '\u200d'
	return !unicode.IsPrint(r) && r != joiner
}

func checkRoom(ch *pond.Channel) error {
	room := ch.Param("room")
	odd := func(r rune) bool { return !unicode.In(r, unicode.L, unicode.M, unicode.Nd) && r != '-' && r != '_' }
	// The same room under another name, such as "/chat/%61", would be another room.
	if room == "" || utf8.RuneCountInString(room) > maxName || strings.ContainsFunc(room, odd) || ch.Name() != "/chat/"+room {
		return pond.Errorf(http.StatusBadRequest, "a room's name has 1 to %d letters, digits, hyphens and underscores", maxName)
	}
	return nil
}
