package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// Capabilities that a node names when it connects.
const (
	// Access asks the cloud for what the node's API needs to authenticate and authorize
	// clients: the issuer's keys, the RBAC objects that concern the service accounts of
	// the node's pods, and these pods' Namespaces.
	Access = "local-api"
	// Tokens asks the cloud for the issuer's keys only, by which a node checks service
	// account tokens. Access includes it.
	Tokens = "tokens"
	// Services asks the cloud for all Services, EndpointSlices and ServiceCIDRs, which
	// kube-proxy needs, and for all Namespaces, which the cluster's DNS server needs too.
	Services = "services"
	// Groups asks the cloud, besides Services, which nodes are in groups: the objects of
	// MembersResource.
	Groups = "service-groups"
)

// MembersResource is the resource in the Down area that says which nodes are in a group: for each
// such node one object with its name and GroupLabel.
const MembersResource = "nodegroupmembers"

// Labels and annotations by which the endpoints of a Service are kept within a group of nodes.
const (
	// GroupLabel is the label of a node with the name of its group.
	GroupLabel = "apps.kubeedge.io/belonging-to"
	// TopologyAnnotation is on a Service whose endpoints are kept within a group, if its
	// value is TopologyNodeGroup.
	TopologyAnnotation = "apps.kubeedge.io/service-topology"
	// TopologyNodeGroup is the value of TopologyAnnotation.
	TopologyNodeGroup = "range-nodegroup"
)

// IssuerResource and IssuerName name the object in the Down area that holds
// the Issuer.
const (
	IssuerResource = "serviceaccountissuers"
	IssuerName     = "cluster"
)

// Issuer is how the cluster's service account tokens are checked.
type Issuer struct {
	Issuer string          `json:"issuer"` // claim "iss" of good tokens, and the audience of the API server
	JWKS   json.RawMessage `json:"jwks"`   // a JSON Web Key Set, RFC 7517
}

// IssuerKey is the store's key of the Issuer.
func IssuerKey() meta.Key { return meta.Key{Resource: IssuerResource, Name: IssuerName} }

// Call is the resource of the link's calls whose body is a Request and whose
// answer is a Response.
const Call = "api/request"

// Stream is the resource of the link's streams that carry one HTTP request for the API server
// each (hub/httplink), with the token of a pod's service account.
const Stream = "api/stream"

// Request is one request for the API server. With a Token it is made by the
// token's owner, whom the API server itself knows by it; without one it is
// made as the node.
type Request struct {
	Method      string `json:"method"`
	Path        string `json:"path"`            // /api/... or /apis/...
	Query       string `json:"query,omitempty"` // encoded, without "?"
	ContentType string `json:"contentType,omitempty"`
	Accept      string `json:"accept,omitempty"`
	Token       string `json:"token,omitempty"`
	Body        []byte `json:"-"`
}

// Response is the API server's answer.
type Response struct {
	Code        int      `json:"code"`
	ContentType string   `json:"contentType,omitempty"`
	Warnings    []string `json:"warnings,omitempty"` // values of Warning headers
	Body        []byte   `json:"-"`
}

// maxHead bounds the first line of either form: a path, a query with
// selectors, and a token.
const maxHead = 96 << 10

// Encode returns the request as it is sent: a line of JSON and then the body.
func (r Request) Encode() ([]byte, error) { return encode(r, r.Body) }

// Encode returns the response as it is sent: a line of JSON and then the body.
func (r Response) Encode() ([]byte, error) { return encode(r, r.Body) }

func encode(head any, body []byte) ([]byte, error) {
	b, err := json.Marshal(head)
	if err != nil {
		return nil, fmt.Errorf("wire: %w", err)
	}
	if len(b) > maxHead {
		return nil, fmt.Errorf("wire: path, query and token together have %d bytes, over the limit of %d", len(b), maxHead)
	}
	return append(append(b, '\n'), body...), nil
}

// DecodeRequest reads what Request.Encode made. Body shares text's memory.
func DecodeRequest(text []byte) (Request, error) {
	var r Request
	body, err := decode(text, &r)
	r.Body = body
	return r, err
}

// DecodeResponse reads what Response.Encode made. Body shares text's memory.
func DecodeResponse(text []byte) (Response, error) {
	var r Response
	body, err := decode(text, &r)
	r.Body = body
	if err == nil && (r.Code < 100 || r.Code > 599) {
		err = fmt.Errorf("wire: %d is not an HTTP status", r.Code)
	}
	return r, err
}

func decode(text []byte, head any) ([]byte, error) {
	line, body, ok := bytes.Cut(text, []byte{'\n'})
	if !ok || len(line) > maxHead {
		return nil, errors.New("wire: the first line is missing or too long")
	}
	if err := jsonlimit.Unmarshal(line, head); err != nil {
		return nil, fmt.Errorf("wire: first line: %w", err)
	}
	return body, nil
}
