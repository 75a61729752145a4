package clusterwire_test

import (
	"fmt"

	"github.com/pondsocket/pond/internal/clusterwire"
)

// ExampleAppend shows a broadcast on its way to the other nodes.
func ExampleAppend() {
	data, err := clusterwire.Append(nil, &clusterwire.Message{
		Type:       clusterwire.UserMessage,
		ID:         "01976d2c-a001-7d10-9c00-000000000001",
		Source:     "01976d2c-9a5e-7c1b-8f44-0b6a9e3d2f70",
		Endpoint:   "api/socket",
		Channel:    "/chat/1",
		Timestamp:  1795393466272,
		From:       "u1",
		Event:      "said",
		Payload:    []byte(`{"text":"hi"}`),
		RequestID:  "m1",
		Recipients: clusterwire.Recipients{To: clusterwire.AllExceptSender},
	})
	fmt.Println(string(data), err)
	// Output: {"protocol":"pondsocket.distributed","version":1,"sourceNodeId":"01976d2c-9a5e-7c1b-8f44-0b6a9e3d2f70","type":"USER_MESSAGE","messageId":"01976d2c-a001-7d10-9c00-000000000001","endpointName":"api/socket","channelName":"/chat/1","timestamp":1795393466272,"fromUserId":"u1","event":"said","payload":{"text":"hi"},"requestId":"m1","recipientDescriptor":"ALL_EXCEPT_SENDER"} <nil>
}
