package clusterwire

// A member is one that some message has, or unknown.
type member int

const (
	unknown member = iota
	protocolMember
	versionMember
	typeMember
	idMember
	sourceMember
	endpointMember
	channelMember
	timestampMember
	extMember
	fromNodeMember
	usersMember
	userMember
	presenceMember
	assignsMember
	fromUserMember
	eventMember
	payloadMember
	requestMember
	recipientsMember
	keyMember
	valueMember
	reasonMember
	nodeMember

	memberCount
)

func memberOf(name []byte) member {
	switch string(name) {
	case "protocol":
		return protocolMember
	case "version":
		return versionMember
	case "type":
		return typeMember
	case "messageId":
		return idMember
	case "sourceNodeId":
		return sourceMember
	case "endpointName":
		return endpointMember
	case "channelName":
		return channelMember
	case "timestamp":
		return timestampMember
	case "ext":
		return extMember
	case "fromNode":
		return fromNodeMember
	case "users":
		return usersMember
	case "userId":
		return userMember
	case "presence":
		return presenceMember
	case "assigns":
		return assignsMember
	case "fromUserId":
		return fromUserMember
	case "event":
		return eventMember
	case "payload":
		return payloadMember
	case "requestId":
		return requestMember
	case "recipientDescriptor":
		return recipientsMember
	case "key":
		return keyMember
	case "value":
		return valueMember
	case "reason":
		return reasonMember
	case "nodeId":
		return nodeMember
	}
	return unknown
}
