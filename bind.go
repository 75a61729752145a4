package pond

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/pondsocket/pond/internal/strictjson"
)

// bind decodes a payload for a handler. Members of the channel may get the same
// payload, so it must mean the same to them.
func bind(payload []byte, v any) error {
	err := strictjson.Unmarshal(payload, v)
	if err == nil {
		return nil
	}
	if ambiguous, ok := errors.AsType[*strictjson.AmbiguousError](err); ok {
		return &Error{Code: http.StatusBadRequest, Message: "the payload is ambiguous: " + ambiguous.Problem, Err: err}
	}
	if _, ok := errors.AsType[*json.InvalidUnmarshalError](err); ok {
		return fmt.Errorf("pond: cannot bind the payload: %w", err) // the handler's mistake, not the client's
	}
	return badPayload(err)
}
