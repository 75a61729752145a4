package pond_test

import (
	"expvar"
	"fmt"

	"github.com/pondsocket/pond"
)

// count returns an observer that counts. Labels come from the server: there are as
// many names of channels and events as clients like.
func count(counts *expvar.Map) *pond.Observer {
	return &pond.Observer{
		Connected: func(e *pond.Endpoint, _ string, t pond.Transport) {
			counts.Add("connected "+e.Path()+" "+string(t), 1)
		},
		Joined: func(ch *pond.Channel, _ pond.User) { counts.Add("joined "+ch.Lobby().Pattern(), 1) },
		Sent: func(ch *pond.Channel, _ string, recipients int) {
			counts.Add("sent "+ch.Lobby().Pattern(), int64(recipients))
		},
		Limited: func(_ *pond.Endpoint, l pond.Limit) { counts.Add("limited "+string(l), 1) },
	}
}

// An Observer is told what happens. Fields that are nil are skipped.
func ExampleObserver() {
	counts := new(expvar.Map).Init() // expvar.NewMap publishes it at /debug/vars
	p := pond.New(pond.WithObserver(count(counts)))
	endpoint := p.Endpoint("/socket", accept, pond.WithMaxChannels(1))
	endpoint.Lobby("/chat/:room", admit)

	v := serve(p, p)
	defer v.close()
	ann := v.connect("Ann", "/socket")
	ann.join("/chat/1")
	ann.join("/chat/2")
	chat, _ := endpoint.Channel("/chat/1")
	_ = chat.Broadcast("news", nil)
	ann.receive()
	counts.Do(func(kv expvar.KeyValue) { fmt.Println(kv.Key, kv.Value) })
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Ann gets SYSTEM UNAUTHORIZED {"code":"CHANNEL_ERROR","message":"too many channels","status":429,"statusCode":429,"error":{"message":"too many channels","status":429}}
	// Ann gets BROADCAST news {}
	// connected /socket sse 1
	// joined /chat/:room 1
	// limited channels 1
	// sent /chat/:room 1
}
