// The driver csi is a fake of the lab: of a storage system with snapshots and clones, behind the Container Storage
// Interface. A volume is a folder on the centre's disk, and a snapshot is a copy of one. What is asked of it and what asks
// is real: the kubelet, external-provisioner and external-snapshotter. What no storage system of a data centre would do so
// is in the copying alone: it takes as long as there is data, and meanwhile the pods that use the volume stand still.
package main

import (
	"context"
	"flag"
	"log"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

const (
	name    = "snapshots.lab.tripod.cloud"
	version = "1"
)

// driver answers for identity, controller and node: the lab has one node a cluster.
type driver struct {
	csi.UnimplementedControllerServer
	csi.UnimplementedNodeServer
	csi.UnimplementedIdentityServer
	node string
	// pods is the cgroup under which the cluster's pods run.
	pods      string
	volumes   shelf
	snapshots shelf
	// One request at a time: a request that is made again waits for the first and finds what that made.
	turn sync.Mutex
}

func main() {
	endpoint := flag.String("endpoint", "", "where to serve: unix:// and the path of a socket")
	root := flag.String("root", "", "folder that holds the volumes and the snapshots")
	node := flag.String("node", "", "name of the node")
	pods := flag.String("pods", "", "cgroup under which the node's pods run, as /proc/PID/cgroup tells it")
	registrar := flag.String("registration", "", "path of the socket at which the kubelet finds the driver")
	flag.Parse()
	socket, isUnix := strings.CutPrefix(*endpoint, "unix://")
	if !isUnix || *root == "" || *node == "" || *pods == "" || *registrar == "" {
		log.Fatal("--endpoint=unix://…, --root, --node, --pods and --registration are needed")
	}
	d := &driver{node: *node, pods: *pods}
	var err error
	if d.volumes, err = openShelf(*root, "volumes", "vol-"); err != nil {
		log.Fatal(err)
	}
	if d.snapshots, err = openShelf(*root, "snapshots", "snap-"); err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(d.oneByOne))
	csi.RegisterIdentityServer(server, d)
	csi.RegisterControllerServer(server, d)
	csi.RegisterNodeServer(server, d)
	registry := grpc.NewServer()
	registration.RegisterRegistrationServer(registry, registrant{endpoint: socket})

	ended := make(chan error, 2)
	go func() { ended <- serve(server, socket) }()
	go func() { ended <- serve(registry, *registrar) }()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	select {
	case err := <-ended:
		log.Fatal(err)
	case <-ctx.Done():
		registry.Stop()
		server.GracefulStop()
	}
}

func serve(server *grpc.Server, socket string) error {
	// Of a driver that was killed.
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	return server.Serve(listener)
}

func (d *driver) oneByOne(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	d.turn.Lock()
	defer d.turn.Unlock()
	// Whoever asked may have given up while it waited for its turn; it asks again.
	if err := ctx.Err(); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	answer, err := handle(ctx, request)
	if err != nil {
		log.Printf("%s: %v", info.FullMethod, err)
	}
	return answer, err
}
