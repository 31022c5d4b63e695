package podresources

import (
	"context"

	"github.com/edgekit/edgekit/edged/internal/protomsg"
)

// List is List without a socket.
func List(ctx context.Context, s *Server) (protomsg.Message, error) { return s.list("v1")(ctx, nil) }
