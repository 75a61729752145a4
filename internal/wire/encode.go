package wire

import "strconv"

// AppendMessage appends a message. The payload is a result of [Object] or a similar
// function; nil means the empty object.
func AppendMessage(dst []byte, a Action, event, channel, requestID string, payload []byte) []byte {
	dst = appendHead(dst, a, event, channel, requestID)
	if len(payload) == 0 {
		payload = emptyObject
	}
	dst = append(dst, payload...)
	return append(dst, '}')
}

// HeadSize is the size of a message without its values.
const HeadSize = len(`{"action":"","event":"","channelName":"","requestId":"","payload":}`)

// OffsetSize is the maximum number of bytes that [AppendOffset] adds for an offset of
// eight digits, which few logs exceed.
const OffsetSize = len(`,"offset":12345678`)

// AppendOffset adds a number to the message at the end of dst, as the last member of
// the object.
func AppendOffset(dst []byte, offset uint64) []byte {
	dst = append(dst[:len(dst)-1], `,"offset":`...)
	dst = strconv.AppendUint(dst, offset, 10)
	return append(dst, '}')
}

// appendHead appends a message up to its payload.
func appendHead(dst []byte, a Action, event, channel, requestID string) []byte {
	dst = append(dst, `{"action":`...)
	dst = AppendString(dst, string(a))
	dst = append(dst, `,"event":`...)
	dst = AppendString(dst, event)
	dst = append(dst, `,"channelName":`...)
	dst = AppendString(dst, channel)
	dst = append(dst, `,"requestId":`...)
	dst = AppendString(dst, requestID)
	return append(dst, `,"payload":`...)
}

// AppendPresenceHead appends the part of a presence message before the list, which is a
// JSON array of objects. The list is by far the largest part, so it is encoded once and
// shared by the messages that contain it.
func AppendPresenceHead(dst []byte, event, channel, requestID string) []byte {
	dst = appendHead(dst, Presence, event, channel, requestID)
	return append(dst, `{"presence":`...)
}

// AppendPresenceTail appends the part of a presence message after the list. The change
// is an object.
func AppendPresenceTail(dst []byte, changed []byte) []byte {
	dst = append(dst, `,"changed":`...)
	dst = append(dst, changed...)
	return append(dst, `}}`...)
}

// AppendPresenceEntry appends an element of [PresenceState] or [PresenceDiff]. The user is
// the identity, or "" if it is not published. In the list of users that left,
// elements have neither.
func AppendPresenceEntry(dst []byte, id, user string, presence []byte) []byte {
	dst = AppendString(append(dst, `{"id":`...), id)
	if user != "" {
		dst = AppendString(append(dst, `,"user":`...), user)
	}
	if presence != nil {
		dst = append(append(dst, `,"presence":`...), presence...)
	}
	return append(dst, '}')
}

// AppendError appends the payload of an error, in all forms that official clients
// expect. The status is an HTTP status code.
func AppendError(dst []byte, code, message string, status int) []byte {
	return AppendErrorDetails(dst, code, message, status, nil)
}

// AppendErrorDetails is [AppendError] with a member "details": a result of [Value], or
// nil for none.
func AppendErrorDetails(dst []byte, code, message string, status int, details []byte) []byte {
	dst = append(dst, `{"code":`...)
	dst = AppendString(dst, code)
	return appendErrorRest(dst, message, status, details)
}

// AppendHandlerError appends the payload of a [HandlerNotFound] error, whose code
// is the status. The details are those of [AppendErrorDetails].
func AppendHandlerError(dst []byte, message string, status int, details []byte) []byte {
	dst = append(dst, `{"code":`...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	return appendErrorRest(dst, message, status, details)
}

// appendErrorRest appends the members after the code.
func appendErrorRest(dst []byte, message string, status int, details []byte) []byte {
	dst = append(dst, `,"message":`...)
	start := len(dst)
	dst = AppendString(dst, message)
	end := len(dst)
	dst = append(dst, `,"status":`...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, `,"statusCode":`...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, `,"error":{"message":`...)
	dst = append(dst, dst[start:end]...)
	dst = append(dst, `,"status":`...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, '}')
	if len(details) > 0 {
		dst = append(dst, `,"details":`...)
		dst = append(dst, details...)
	}
	return append(dst, '}')
}
