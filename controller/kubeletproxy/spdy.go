package kubeletproxy

import (
	"encoding/binary"
	"net/http"
	"strings"

	"github.com/edgekit/edgekit/hub/httplink"
)

// spdyFrameHeader is the length of what every SPDY frame begins with: four
// bytes of kind, one of flags, three of the length of what follows (SPDY
// Protocol Draft 3.1, section 2.2).
const spdyFrameHeader = 8

// spdyGoAway is a GOAWAY frame that names no stream and no error (section 2.6.6).
var spdyGoAway = [...]byte{0x80, 3, 0, 7, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0}

// endWithGoAway appends a GOAWAY frame to a SPDY connection from a node, however
// the connection ended; most often its link was lost. The API server tunnels
// kubectl port-forward through a WebSocket, and closes that only when its own
// read from it returns (as of Kubernetes 1.37). A client whose last ping was lost
// with the link sends nothing, so that read would never return. A client that
// receives GOAWAY closes the connection itself.
func endWithGoAway(resp *http.Response) error {
	if resp.StatusCode != http.StatusSwitchingProtocols || !strings.EqualFold(resp.Header.Get("Upgrade"), "SPDY/3.1") {
		return nil
	}
	if conn, ok := resp.Body.(httplink.Upgraded); ok {
		resp.Body = &goAwayConn{Upgraded: conn}
	}
	return nil
}

// goAwayConn is a SPDY connection whose last bytes read are a GOAWAY frame.
type goAwayConn struct {
	httplink.Upgraded
	frames spdyFrames
	end    error  // how the connection ended
	goAway []byte // the rest of the frame that is still to be read
}

func (p *goAwayConn) Read(b []byte) (int, error) {
	if p.end == nil {
		n, err := p.Upgraded.Read(b)
		p.frames.track(b[:n])
		if err == nil || !p.frames.complete() {
			// In the middle of a frame, the peer would read GOAWAY as its rest.
			return n, err
		}
		p.end, p.goAway = err, spdyGoAway[:]
		if n > 0 {
			return n, nil
		}
	}
	n := copy(b, p.goAway)
	if p.goAway = p.goAway[n:]; len(p.goAway) > 0 {
		return n, nil
	}
	return n, p.end
}

// spdyFrames follows the frames in a stream of bytes.
type spdyFrames struct {
	header [spdyFrameHeader]byte
	have   int    // bytes of the header that have passed
	rest   uint32 // bytes of the payload that are still to come
}

// complete reports whether the last frame has passed to its end.
func (f *spdyFrames) complete() bool { return f.have == 0 && f.rest == 0 }

func (f *spdyFrames) track(b []byte) {
	for len(b) > 0 {
		if f.rest > 0 {
			n := min(len(b), int(f.rest))
			f.rest -= uint32(n) // at most rest
			b = b[n:]
			continue
		}
		n := copy(f.header[f.have:], b)
		f.have += n
		b = b[n:]
		if f.have == spdyFrameHeader {
			f.have, f.rest = 0, binary.BigEndian.Uint32(f.header[4:])&0xffffff
		}
	}
}
