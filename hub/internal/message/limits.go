package message

// Limits bound what one session may use. Each side has its own and tells them
// to the other in the handshake; a peer that exceeds them is cut off. The zero
// value means the defaults.
type Limits struct {
	// MaxFrame is the largest message accepted, in bytes, body and envelope
	// together. 0 means 4 MiB.
	MaxFrame int
	// Window is how many objects of the state class may be on their way here
	// without being acknowledged. 0 means 256.
	Window int
	// WindowBytes is how many bytes they may have together; one larger object
	// may travel alone. 0 means 1 MiB.
	WindowBytes int
	// MaxKeys is how many keys the peer may list when both sides compare what
	// they hold. 0 means 100,000.
	MaxKeys int
	// MaxCalls is how many calls of the peer are answered at the same time;
	// one more is refused with CodeExhausted. 0 means 64.
	MaxCalls int
	// MaxStreams is how many streams of the peer are open at the same time;
	// one more is refused with CodeExhausted. 0 means 4096.
	MaxStreams int
	// MaxCallBytes is how many bytes the peer's calls and streams may hold here
	// together: each opening frame from its arrival until it has been served, and
	// each answer until the peer has read it. Those of up to 4 KiB do not count. An
	// opening frame that finds no room waits for up to 10 s, an answer does not;
	// then CodeExhausted says to come again. 0 means 32 MiB, or MaxFrame if that is
	// more.
	MaxCallBytes int
}
