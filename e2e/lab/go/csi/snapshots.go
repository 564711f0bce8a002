package main

import (
	"context"
	"strconv"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func (d *driver) CreateSnapshot(ctx context.Context, r *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	if r.GetName() == "" || r.GetSourceVolumeId() == "" {
		return nil, status.Error(codes.InvalidArgument, "a snapshot needs a name and a volume")
	}
	id := d.snapshots.id(r.GetName())
	there, found, err := d.snapshots.find(id)
	if err != nil {
		return nil, err
	}
	if found && there.Source != r.GetSourceVolumeId() {
		return nil, status.Errorf(codes.AlreadyExists, "snapshot %s is there, of volume %s", r.GetName(), there.Source)
	}
	if !found {
		volume, found, err := d.volumes.find(r.GetSourceVolumeId())
		if err != nil || !found {
			return nil, notFound(r.GetSourceVolumeId(), err)
		}
		there = entry{r.GetName(), r.GetSourceVolumeId(), volume.Capacity, time.Now()}
		from := d.volumes.data(r.GetSourceVolumeId())
		if err := d.snapshots.add(there, func(data string) error { return d.copyOf(ctx, from, data) }); err != nil {
			return nil, err
		}
	}
	return &csi.CreateSnapshotResponse{Snapshot: described(id, there)}, nil
}

// described is a snapshot as others see it. Its size is that of its volume: whatever is made of it needs as much.
func described(id string, e entry) *csi.Snapshot {
	return &csi.Snapshot{
		SnapshotId: id, SourceVolumeId: e.Source, SizeBytes: e.Capacity,
		CreationTime: timestamppb.New(e.Created), ReadyToUse: true,
	}
}

func (d *driver) DeleteSnapshot(_ context.Context, r *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	if r.GetSnapshotId() == "" {
		return nil, status.Error(codes.InvalidArgument, "which snapshot?")
	}
	return &csi.DeleteSnapshotResponse{}, d.snapshots.remove(r.GetSnapshotId())
}

func (d *driver) ListSnapshots(_ context.Context, r *csi.ListSnapshotsRequest) (*csi.ListSnapshotsResponse, error) {
	ids := []string{r.GetSnapshotId()}
	if r.GetSnapshotId() == "" {
		var err error
		if ids, err = d.snapshots.ids(); err != nil {
			return nil, err
		}
	}
	var all []*csi.ListSnapshotsResponse_Entry
	for _, id := range ids {
		e, found, err := d.snapshots.find(id)
		if err != nil {
			return nil, err
		}
		if found && (r.GetSourceVolumeId() == "" || r.GetSourceVolumeId() == e.Source) {
			all = append(all, &csi.ListSnapshotsResponse_Entry{Snapshot: described(id, e)})
		}
	}
	return page(all, r.GetStartingToken(), int(r.GetMaxEntries()))
}

// page is a part of a list: the token is how many came before.
func page(all []*csi.ListSnapshotsResponse_Entry, token string, most int) (*csi.ListSnapshotsResponse, error) {
	start := 0
	if token != "" {
		var err error
		if start, err = strconv.Atoi(token); err != nil || start < 0 || start > len(all) {
			return nil, status.Errorf(codes.Aborted, "no list goes on at %q", token)
		}
	}
	end, next := len(all), ""
	if most > 0 && start+most < end {
		end = start + most
		next = strconv.Itoa(end)
	}
	return &csi.ListSnapshotsResponse{Entries: all[start:end], NextToken: next}, nil
}
