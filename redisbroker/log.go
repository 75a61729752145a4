package redisbroker

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pondsocket/pond"
	"github.com/redis/rueidis"
)

// pageBytes limits the size of a page.
const pageBytes = 1 << 20

var (
	//go:embed lua/common.lua
	commonSource string
	//go:embed lua/open.lua
	openSource string
	//go:embed lua/append.lua
	appendSource string
	//go:embed lua/since.lua
	sinceSource string
	//go:embed lua/last.lua
	lastSource string
	//go:embed lua/top.lua
	topSource string

	openScript   = rueidis.NewLuaScript(commonSource + openSource)
	appendScript = rueidis.NewLuaScript(commonSource + appendSource)
	sinceScript  = rueidis.NewLuaScript(commonSource + sinceSource)
	lastScript   = rueidis.NewLuaScript(commonSource + lastSource)
	topScript    = rueidis.NewLuaScript(commonSource + topSource)
)

// braces escapes the braces in a hash tag.
var braces = strings.NewReplacer("%", "%25", "{", "%7B", "}", "%7D")

// keysOf returns the keys of a log: a hash with its state, and a stream with its
// entries. In a cluster, they must be in the hash slot of the topic's channel.
func (b *Broker) keysOf(topic string) []string {
	tag := "{" + braces.Replace(b.prefix+topic) + "}"
	return []string{b.keys + "state:" + tag, b.keys + "entries:" + tag}
}

// exec runs a script on a log.
func (b *Broker) exec(ctx context.Context, script *rueidis.Lua, topic string, args ...string) (values []rueidis.RedisMessage, err error) {
	err = b.do(ctx, func(ctx context.Context, client rueidis.Client) error {
		values, err = script.Exec(ctx, client, b.keysOf(topic), args).ToArray()
		return err
	})
	return values, err
}

// keepArgs returns a retention as arguments of a script.
func keepArgs(keep pond.Retention) ([]string, error) {
	if keep.Messages <= 0 || keep.Bytes <= 0 || keep.Age <= 0 {
		return nil, fmt.Errorf("redisbroker: invalid retention %+v", keep)
	}
	return []string{
		randomText()[:16], // the epoch, if the script creates a log
		strconv.Itoa(keep.Messages),
		strconv.Itoa(keep.Bytes),
		strconv.FormatInt(max(1, keep.Age.Milliseconds()), 10),
	}, nil
}

// Open implements [pond.BrokerLog].
func (b *Broker) Open(ctx context.Context, topic string, keep pond.Retention) (pond.Position, error) {
	args, err := keepArgs(keep)
	if err != nil {
		return pond.Position{}, err
	}
	values, err := b.exec(ctx, openScript, topic, args...)
	if err != nil {
		return pond.Position{}, err
	}
	return positionOf(values)
}

// Append implements [pond.BrokerLog].
func (b *Broker) Append(ctx context.Context, topic string, batch pond.Batch) (pond.Position, error) {
	if err := b.checkSizes(batch.Data); err != nil {
		return pond.Position{}, err
	}
	if batch.Producer == "" || batch.First == 0 {
		return pond.Position{}, errors.New("redisbroker: a batch needs a producer, and numbers from 1")
	}
	args, err := keepArgs(batch.Keep)
	if err != nil {
		return pond.Position{}, err
	}
	args = append(args, b.prefix+topic, batch.Producer, strconv.FormatUint(batch.First, 10))
	for _, data := range batch.Data {
		if len(data) < 2 || data[0] != '{' || data[len(data)-1] != '}' {
			return pond.Position{}, errors.New("redisbroker: a message must be a JSON object")
		}
		args = append(args, rueidis.BinaryString(data))
	}
	values, err := b.exec(ctx, appendScript, topic, args...)
	if err != nil {
		return pond.Position{}, err
	}
	return positionOf(values)
}

// Since implements [pond.BrokerLog].
func (b *Broker) Since(ctx context.Context, topic string, from pond.Position, limit int) (pond.Page, error) {
	values, err := b.exec(ctx, sinceScript, topic,
		from.Epoch, strconv.FormatUint(from.Offset, 10), strconv.Itoa(limit), strconv.Itoa(pageBytes))
	if err != nil {
		return pond.Page{}, err
	}
	return pageOf(values)
}

// Last implements [pond.BrokerLog].
func (b *Broker) Last(ctx context.Context, topic string, limit int) (pond.Page, error) {
	values, err := b.exec(ctx, lastScript, topic, strconv.Itoa(limit), strconv.Itoa(pageBytes))
	if err != nil {
		return pond.Page{}, err
	}
	return pageOf(values)
}

// Tops implements [pond.BrokerLog].
func (b *Broker) Tops(ctx context.Context, topics []string) ([]pond.Position, error) {
	tops := make([]pond.Position, 0, len(topics))
	calls := make([]rueidis.LuaExec, len(topics))
	for i, topic := range topics {
		calls[i] = rueidis.LuaExec{Keys: b.keysOf(topic)}
	}
	err := b.do(ctx, func(ctx context.Context, client rueidis.Client) error {
		if len(calls) == 0 {
			return nil
		}
		for _, result := range topScript.ExecMulti(ctx, client, calls...) {
			values, err := result.ToArray()
			if err != nil {
				return err
			}
			top, err := positionOf(values)
			if err != nil {
				return err
			}
			tops = append(tops, top)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return tops, nil
}

// Drop implements [pond.BrokerLog].
func (b *Broker) Drop(ctx context.Context, topic string) error {
	return b.do(ctx, func(ctx context.Context, client rueidis.Client) error {
		return client.Do(ctx, client.B().Del().Key(b.keysOf(topic)...).Build()).Error()
	})
}

// positionOf parses an epoch and an offset. Without values, it returns the zero
// position.
func positionOf(values []rueidis.RedisMessage) (pos pond.Position, err error) {
	if len(values) == 0 {
		return pos, nil
	}
	if len(values) < 2 {
		return pos, errors.New("redisbroker: unexpected result of a script")
	}
	if pos.Epoch, err = values[0].ToString(); err != nil {
		return pond.Position{}, err
	}
	if pos.Offset, err = values[1].AsUint64(); err != nil {
		return pond.Position{}, err
	}
	return pos, nil
}

// pageOf parses an epoch, the top, whether the page is complete, and pairs of offsets
// and messages.
func pageOf(values []rueidis.RedisMessage) (page pond.Page, err error) {
	if page.Top, err = positionOf(values); err != nil || len(values) == 0 {
		return page, err
	}
	if len(values) < 3 || len(values)%2 != 1 {
		return pond.Page{}, errors.New("redisbroker: unexpected result of a script")
	}
	complete, err := values[2].AsInt64()
	if err != nil {
		return pond.Page{}, err
	}
	page.Complete = complete == 1
	for i := 3; i < len(values); i += 2 {
		offset, err := values[i].AsUint64()
		if err != nil {
			return pond.Page{}, err
		}
		data, err := values[i+1].AsBytes()
		if err != nil {
			return pond.Page{}, err
		}
		e := pond.Entry{Pos: pond.Position{Epoch: page.Top.Epoch, Offset: offset}, Prev: offset - 1, Data: data}
		page.Entries = append(page.Entries, e)
	}
	return page, nil
}
