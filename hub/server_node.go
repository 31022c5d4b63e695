package hub

// Node returns the connection of a node; false if the node has no session here.
func (v *Server) Node(node string) (Info, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	st := v.registry[node]
	if st == nil || st.holder == nil || st.holder.session == nil {
		return Info{}, false
	}
	return st.holder.info, true
}
