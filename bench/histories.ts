import type { Client } from '@temporalio/client';
import type { temporal } from '@temporalio/proto';

type History = temporal.api.history.v1.IHistory;

export interface HistoryCost {
  events: number;
  workflowTasks: number;
  /** As Temporal Cloud bills them; the start's search attributes are free. */
  actions: number;
  eager: boolean;
}

/** What the workflow's history holds so far, in events and billable actions. */
export async function costOf(client: Client, workflowId: string): Promise<HistoryCost> {
  const { events }: History = await client.workflow.getHandle(workflowId).fetchHistory();
  const found = events ?? [];
  const count = (attributes: keyof (typeof found)[number]): number =>
    found.filter((event) => event[attributes]).length;
  const tasksWithMarkers = new Set(
    found.flatMap(({ markerRecordedEventAttributes: marker }) =>
      marker ? [String(marker.workflowTaskCompletedEventId)] : [],
    ),
  );
  const started = found[0]?.workflowExecutionStartedEventAttributes;
  return {
    events: found.length,
    workflowTasks: count('workflowTaskCompletedEventAttributes'),
    actions:
      count('workflowExecutionStartedEventAttributes') +
      count('activityTaskScheduledEventAttributes') +
      count('workflowExecutionSignaledEventAttributes') +
      count('workflowExecutionUpdateAcceptedEventAttributes') +
      count('timerStartedEventAttributes') +
      count('upsertWorkflowSearchAttributesEventAttributes') +
      2 * count('startChildWorkflowExecutionInitiatedEventAttributes') +
      tasksWithMarkers.size,
    eager: started?.eagerExecutionAccepted === true,
  };
}
