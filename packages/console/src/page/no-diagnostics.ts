/** What stands for `node:diagnostics_channel` in the browser: nobody subscribes here. */
export const channel = () => ({ hasSubscribers: false, publish() {} });
