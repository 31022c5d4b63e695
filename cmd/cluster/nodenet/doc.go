// Package nodenet makes the network of an edge node on one machine: a network
// namespace of its own, tied to the host by one virtual cable (a veth pair)
// that can be cut and mended like a real one.
//
// Inside the namespace the node has one address on the cable and a bridge for
// its pods; the host reaches the pods through the node. The node reaches the
// host's end of the cable and nothing else: not the host's loopback, where the
// control plane listens, and not the world outside. So what works on the node
// works through the cloud program that listens on the host's end.
//
// Nothing of the host's firewall, forwarding or addresses changes; see Network.Forward for two nodes.
package nodenet
